"""Dataflow's REST API on this machine, which really runs what is submitted.

It takes the staged pipeline and the staged packages out of the bucket and runs them in a process
that sees no other copy of ours: what a worker would not find, is not found here either.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import urllib.parse
import urllib.request

OURS = {"namespace": "recordmill"}
HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = re.compile(r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/?]+))?(?:/(\w+))?")


class FakeDataflow:
    """A service with one address.

    Attributes:
      jobs: What was submitted, by id, with its state.
      refuse: A status and message for each submission, or None.
      fail: What a job says when it fails, or None to run it.
    """

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        self.jobs, self.messages, self.counters = {}, {}, {}
        self.refuse = self.fail = None
        self.execute = True
        self._server = http.server.ThreadingHTTPServer(("localhost", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://localhost:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(fake):  # noqa: N805  # self is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def _body(self):
                return json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")

            def _answer(self, value, status=200):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                job = self._body()
                if fake.refuse:
                    status, message = fake.refuse
                    self._answer({"error": {"code": status, "message": message}}, status)
                    return
                self._answer(fake.submit(job))

            def do_GET(self):
                _, _, job, what = JOBS.match(self.path).groups()
                if what == "messages":
                    texts = fake.messages.get(job, [])
                    level = "JOB_MESSAGE_ERROR"
                    told = [{"messageText": text, "messageImportance": level} for text in texts]
                    self._answer({"jobMessages": told})
                elif what == "metrics":
                    metrics = [
                        {"name": {"name": k, "context": {**OURS, "step": step}}, "scalar": v}
                        for k, step, v in fake.counters.get(job, [])
                    ]
                    self._answer({"metrics": metrics})
                else:
                    self._answer(fake.jobs[job])

            def do_PUT(self):
                _, _, job, _ = JOBS.match(self.path).groups()
                wanted = self._body()["requestedState"]
                fake.jobs[job]["currentState"] = wanted
                self._answer(fake.jobs[job])

        return Handler

    def submit(self, job):
        number = f"job-{len(self.jobs)}"
        job = {**job, "id": number, "currentState": "JOB_STATE_RUNNING"}
        self.jobs[number] = job
        if self.fail:
            self.messages[number] = [self.fail]
            job["currentState"] = "JOB_STATE_FAILED"
        elif self.execute:
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _run(self, job):
        try:
            self.counters[job["id"]] = self._execute(job)
            job["currentState"] = "JOB_STATE_DONE"
        except Exception as error:
            self.messages[job["id"]] = [str(error)]
            job["currentState"] = "JOB_STATE_FAILED"

    def _download(self, url):
        bucket, _, name = url.removeprefix("gs://").partition("/")
        quoted = urllib.parse.quote(name, safe="")
        address = f"{self.store}/download/storage/v1/b/{bucket}/o/{quoted}?alt=media"
        with urllib.request.urlopen(address) as answer:
            return answer.read()

    def _execute(self, job):
        folder = os.path.join(self.folder, job["id"])
        os.makedirs(folder)
        options = job["environment"]["sdkPipelineOptions"]["options"]
        with open(os.path.join(folder, "pipeline.pb"), "wb") as stream:
            stream.write(self._download(options["pipelineUrl"]))
        packages = {
            package["name"]: package["location"]
            for pool in job["environment"]["workerPools"]
            for package in pool.get("packages", [])
        }
        if "workflow.tar.gz" in packages:
            location = packages["workflow.tar.gz"].replace("storage.googleapis.com/", "gs://")
            archive = os.path.join(folder, "workflow.tar.gz")
            with open(archive, "wb") as stream:
                stream.write(self._download(location))
            with tarfile.open(archive) as members:
                members.extractall(folder, filter="data")
        [unpacked] = [n for n in os.listdir(folder) if n.startswith("recordmill-")] or [""]
        env = {**os.environ, "PYTHONPATH": os.path.join(folder, unpacked)}
        command = [sys.executable, os.path.join(HERE, "staged_worker.py"), folder]
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])
