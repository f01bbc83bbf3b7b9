"""A second implementation of openapi.yaml, with the libraries that the real service probably uses. Its error bodies
are those of FastAPI and Pydantic. Jobs are pending for half a second and run for one second.

    uvicorn server:app
"""

import itertools
import json
import os
import time
from datetime import datetime, timezone
from typing import Annotated, Any, Optional

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Query, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

PENDING, RUNNING = 0.5, 1.0


def printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must have printable characters only")
    return name


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(printable)]


class Rename(BaseModel):
    name: Name


class Payload(BaseModel, extra="allow"):
    job_type: Annotated[str, Field(min_length=1)]
    name: Optional[Name] = None


class Batch(BaseModel):
    jobs: Annotated[list[Any], Field(max_length=1000)]


class Job:
    numbers = itertools.count(1)

    def __init__(self, payload: Payload):
        self.number = next(self.numbers)
        self.job_id = f"run-{self.number:06}"
        self.name, self.job_type = payload.name, payload.job_type
        self.created, self.cancelled = time.time(), None

    def state(self) -> str:
        age = (self.cancelled or time.time()) - self.created
        if self.cancelled:
            return "cancelled"
        return "pending" if age < PENDING else "running" if age < PENDING + RUNNING else "done"

    def summary(self) -> dict:
        ran = min((self.cancelled or time.time()) - self.created - PENDING, RUNNING)
        return {
            "job_id": self.job_id,
            "name": self.name,
            "state": self.state(),
            "job_type": self.job_type,
            "created_at": datetime.fromtimestamp(self.created, timezone.utc).isoformat(),
            "billed_core_seconds": round(4 * ran, 3) if ran > 0 else None,
            "molecule_preview": None,
        }


app = FastAPI()
jobs: dict[str, Job] = {}  # oldest first
submitted: dict[str, Job] = {}


def authorize(key: Annotated[Optional[HTTPAuthorizationCredentials], Depends(HTTPBearer(auto_error=False))]) -> None:
    if key is None or key.credentials != os.environ["ATOMIVERSE_TEST_KEY"]:
        raise HTTPException(401, "Invalid API key")


def find(job_id: str) -> Job:
    if job_id not in jobs:
        raise HTTPException(404, "Job not found")
    return jobs[job_id]


Found = Annotated[Job, Depends(find)]
api = APIRouter(prefix="/api/v1", dependencies=[Depends(authorize)])


def take(payload: Payload) -> tuple[Job, bool]:
    """Returns the job of this payload, and whether it is new."""
    text = json.dumps(payload.model_dump(), sort_keys=True)
    job = submitted.get(text)
    if job is not None and job.job_id in jobs:
        return job, False
    job = submitted[text] = Job(payload)
    jobs[job.job_id] = job
    return job, True


@api.get("/jobs")
def list_jobs(limit: Annotated[int, Query(ge=1, le=1000)] = 50, cursor: Annotated[Optional[int], Query()] = None):
    newest_first = (job for job in reversed(jobs.values()) if cursor is None or job.number < cursor)
    page = list(itertools.islice(newest_first, limit + 1))
    has_more, page = len(page) > limit, page[:limit]
    # The last page also has a cursor, because only `has_more` decides.
    next_cursor = str(page[-1].number) if page else None
    return {"jobs": [job.summary() for job in page], "has_more": has_more, "next_cursor": next_cursor}


@api.post("/jobs", status_code=201)
def submit(payload: Payload, response: Response):
    job, is_new = take(payload)
    if not is_new:
        response.status_code = 200
    return {"job_id": job.job_id, "state": job.state()}


@api.post("/jobs/batch")
def submit_batch(batch: Batch):
    entries = []
    for item in batch.jobs:
        try:
            job, is_new = take(TypeAdapter(Payload).validate_python(item))
            status = "submitted" if is_new else "cache_hit"
            entries.append({"job_id": job.job_id, "state": job.state(), "status": status})
        except ValidationError as error:
            text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            entries.append({"job_id": None, "state": None, "status": "failed", "error": text})
    count = lambda status: sum(entry["status"] == status for entry in entries)
    return {
        "total": len(entries),
        "submitted": count("submitted"),
        "failed": count("failed"),
        "cache_hits": count("cache_hit"),
        "jobs": entries,
    }


@api.get("/jobs/{job_id}")
def get_job(job: Found):
    return job.summary()


@api.patch("/jobs/{job_id}")
def rename_job(job: Found, rename: Annotated[Rename, Body()]):
    job.name = rename.name
    return job.summary()


@api.post("/jobs/{job_id}/cancel")
def cancel_job(job: Found):
    if job.state() in ("pending", "running"):
        job.cancelled = time.time()
    return job.summary()


@api.delete("/jobs/{job_id}", status_code=204)
def delete_job(job: Found):
    if job.state() in ("pending", "running"):
        raise HTTPException(409, f"Job is {job.state()}; only a job that has ended can be deleted")
    del jobs[job.job_id]


@app.get("/job", response_class=HTMLResponse)
def dashboard(job: Found):
    return f"<!doctype html><title>{job.job_id}</title><p>{job.state()}"


app.include_router(api)
