"""The flow `submit-request`: a deletion request as a form in Prefect's pages, and the call from Python.

Prefect stores the parameters of a run, whatever becomes of it. So they hold no person: subjects and references are
given as keyed hashes, samples only as ids of the forms that image sets have, and Prefect's server refuses anything else
before it stores it; other parameters too, which `flows.serving` sees to. `submit` takes people in clear, and is not for
parameters of a flow.

Annotations are not postponed in this file: a served flow is sent to another process, which cannot look up their names.
"""

from typing import Annotated

from prefect import State, flow, get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows.naming import flow_and_time
from flows.own_project import own_params
from flows.plain_logs import plain_logs
from qunlearn.deletion.intake import read_date
from qunlearn.deletion.names import IntakeError
from tasks.intake import Submission, submit, take_in

__all__ = ["submit", "submit_request"]

SAMPLE = r"^(img-[0-9a-f]{20}|(all|train|test)-[0-9]{6,9}-[0-9a-f]{12})$"
CLASS = r"^[^\x00-\x1f\x7f]{0,200}$"
KEYED_HASH = r"^([0-9a-f]{64})?$"
DAY = r"^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]))?$"
"""A pattern and not the format `date`: the server does not check that, and the form takes no empty one."""

SampleId = Annotated[str, Field(pattern=SAMPLE)]
Samples = Annotated[list[SampleId], Field(max_length=10_000)]
ClassName = Annotated[str, Field(pattern=CLASS)]
KeyedHash = Annotated[str, Field(pattern=KEYED_HASH)]
Day = Annotated[str, Field(pattern=DAY)]
Path = Annotated[str, Field(min_length=1)]


@flow(name="submit-request", flow_run_name=flow_and_time)
def submit_request(
    samples: Samples = [],  # noqa: B006 - never changed, and a list is what the form shows
    class_name: ClassName = "",
    subject_hash: KeyedHash = "",
    reference_hash: KeyedHash = "",
    due: Day = "",
    params_file: Path = "params.yaml",
) -> State[str]:
    """Add a deletion request to the ledger. Fill in exactly one of `samples`, `class_name` and `subject_hash`.

    The result is the request's id. The other fields may stay as they are.

    Args:
        samples: Ids of samples, as in data/prepared/ids.txt. One of the first three fields is needed.
        class_name: A class or superclass: all its samples, those held out for evaluation too.
        subject_hash: All samples of a subject, as `qunlearn request hash --subject` prints it.
        reference_hash: Your own reference, to find the request by, as `qunlearn request hash --reference` prints it.
        due: When it is to be completed, as YYYY-MM-DD; one calendar month from now if left empty.
        params_file: Parameter file; its folder is the project.
    """
    plain_logs()
    filled = sum(map(bool, (samples, class_name, subject_hash)))
    if filled != 1:
        raise IntakeError(
            f"a request names its samples in exactly one way, not {filled}: fill in one of samples, class_name and "
            "subject_hash"
        )
    submission = Submission(
        samples=tuple(samples),
        class_name=class_name or None,
        subject=subject_hash or None,
        reference=reference_hash or None,
        due=read_date(due) if due else None,
    )
    submitted = take_in(submission, params_file=own_params(params_file))
    for sentence in submitted.told:
        get_run_logger().warning("%s", sentence)
    request = submitted.request
    return Completed(message=f"request {request.id}, due {request.asked.due}", data=request.id)
