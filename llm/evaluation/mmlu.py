"""MMLU from CSV files on this disk, with the subjects, wording and examples of lm-evaluation-harness's task `mmlu`.

Two layouts of a subject's files SUBJECT_dev.csv (examples) and SUBJECT_test.csv (questions) are known: that of the
authors' archive, without a header, with the letter of the answer in the sixth column; and a header `question, choice0,
choice1, choice2, choice3, answer`, with the number of the answer from 0.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TASK = "mmlu"
SPLITS = ("dev", "test")
LETTERS = "ABCD"
HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]
ARCHIVES = (".tar", ".tar.gz", ".tgz")

Question = dict[str, Any]  # {"question": text, "choices": four texts, "answer": 0 to 3}
Subjects = dict[str, dict[str, list[Question]]]  # subject -> split -> questions


def read_subjects(source: str | Path) -> Subjects:
    """Return the questions of every subject that has both files, by subject and split, in the order of the files.

    source  a folder, searched with its subfolders, or an archive .tar, .tar.gz or .tgz; other files in it are ignored

    Raises FileNotFoundError if there is no such path, and ValueError, in one line that names the file and the line, for
    a file in another layout, and for a source without any subject.
    """
    subjects: Subjects = {}
    for name, content in _files(Path(source).expanduser()):
        subject, _, split = Path(name).stem.rpartition("_")
        if subject and split in SPLITS:
            subjects.setdefault(subject, {})[split] = _questions(content, f"{source}: {name}")
    whole = {subject: parts for subject, parts in sorted(subjects.items()) if len(parts) == len(SPLITS)}
    if not whole:
        raise ValueError(
            f"mmlu: {source} has no subject with both SUBJECT_dev.csv and SUBJECT_test.csv; give the folder or the "
            "archive of MMLU's CSV files"
        )
    return whole


def local_tasks(subjects: Mapping[str, Mapping[str, Sequence[Question]]], *, shots: int, seed: int) -> dict[str, Any]:
    """Return the harness's task `mmlu` on these questions, in the form that its `evaluate` takes.

    Wording, examples (the first of each subject's dev file) and weights are the harness's: its configuration of every
    subject with other data. Subjects that the files lack are left out.

    shots  number of examples before a question
    seed   of examples, where a task draws them

    Raises ValueError for a subject that the harness does not know, or that has fewer than `shots` examples.
    """
    from datasets import Dataset
    from lm_eval import tasks
    from lm_eval.api.group import Group
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.config.group import GroupConfig

    place = Path(tasks.__file__).parent / "mmlu" / "default"  # alone: all of the harness's tasks take a minute to read
    index = tasks.TaskManager(include_path=str(place), include_defaults=False).task_index
    known = {
        str(entry.cfg["dataset_name"]): entry.cfg for entry in index.values() if "dataset_name" in (entry.cfg or {})
    }
    group = Group.from_config(GroupConfig(**{**index[TASK].cfg, "task": []}))
    for subject, parts in subjects.items():
        if subject not in known:
            raise ValueError(f"mmlu: the harness has no subject {subject}; it has {', '.join(sorted(known))}")
        if len(parts["dev"]) < shots:
            raise ValueError(f"mmlu: {subject} has {len(parts['dev'])} examples in its dev file, fewer than {shots}")
        data = {split: Dataset.from_list(list(rows)) for split, rows in parts.items()}
        config = {key: value for key, value in known[subject].items() if key != "tag"}
        task = ConfigurableTask(config={**config, "custom_dataset": lambda data=data, **_: data})
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=seed)
        group.add(task)
    by_name = {task.config.task: task for task in group.get_all_tasks()}
    return {"tasks": by_name, "groups": {TASK: group}, "group_map": {TASK: list(by_name)}}


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names, relative to the source, and contents of the CSV files of a folder or an archive, sorted by name."""
    if source.is_dir():
        for path in sorted(source.rglob("*.csv")):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    if not source.is_file():
        raise FileNotFoundError(f"mmlu: there is no file or folder {source}")
    if not source.name.lower().endswith(ARCHIVES):
        raise ValueError(f"mmlu: must be a folder, or an archive ({', '.join(ARCHIVES)}), got {source}")
    try:
        with tarfile.open(source) as archive:
            members = [member for member in archive.getmembers() if member.isfile() and member.name.endswith(".csv")]
            for member in sorted(members, key=lambda member: member.name):
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"mmlu: {source} cannot be unpacked: {' '.join(str(error).split())}") from error


def _questions(content: bytes, where: str) -> list[Question]:
    """Return the questions of a CSV file of either layout."""
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"mmlu: {where} is no CSV file in UTF-8: {error}") from error
    headed = bool(rows) and rows[0] == HEADER
    answers = [str(i) for i in range(len(LETTERS))] if headed else list(LETTERS)
    questions = []
    for number, row in enumerate(rows[headed:], start=1 + headed):
        if len(row) != len(HEADER) or row[-1].strip() not in answers:
            raise ValueError(
                f"mmlu: {where}, row {number}: must be a question, four choices and an answer of {', '.join(answers)}, "
                f"got {len(row)} columns that end in {row[-1][:40]!r}"
            )
        question, *choices, answer = row
        questions.append({"question": question, "choices": choices, "answer": answers.index(answer.strip())})
    return questions
