"""`python -m detector`: train, evaluate, compare, suggest, predict, export, inspect, synthesize.

Needs nothing of the service; torch is imported only by the subcommands that need it.
"""

import argparse
import errno
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from detector.allocator import keep_freed_memory
from detector.config import TrainConfig
from detector.console import LoggedEvents, coco_table, log, of_masks
from detector.errors import ConfigInvalid, DatasetInvalid, DetectorError, ModelInvalid, StorageFull
from detector.events import (
    EXIT_COMPLETE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_STORAGE_FULL,
    ErrorEvent,
    Fault,
    NoticeEvent,
    PhaseEvent,
)
from detector.lifeline import tie_to_supervisor
from detector.threads import wait_briefly

if TYPE_CHECKING:
    from detector.data.records import DatasetIndex
    from detector.evaluate.run import Course
    from detector.runtime import ModelCard


_POLITE = 5  # of an evaluation beside a training: it takes the time that the training leaves


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand; returns the exit code."""
    wait_briefly()
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    command: Callable[[argparse.Namespace], int] = options.command
    if getattr(options, "run", None) is None or not options.makes_run:
        try:
            return command(options)
        except DetectorError as error:
            log.error("%s", _said(error))
            return EXIT_FAILED
    return _in_run(command, options)


def _in_run(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """A subcommand that has a run directory: what goes wrong becomes an event there, too."""
    if options.supervised:
        tie_to_supervisor()
    options.run.mkdir(parents=True, exist_ok=True)
    options.writer = LoggedEvents(options.run)
    try:
        return command(options)
    except DetectorError as error:
        options.writer.write(
            ErrorEvent(code=error.code, message=error.message, hint=error.hint, faults=_faults(error))
        )
        log.error("%s", _said(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _out_of_room(options, error)
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        options.writer.write(ErrorEvent(code="internal_error", message=message))
    finally:
        options.writer.close()
    return EXIT_FAILED


def _faults(error: DetectorError) -> list[Fault]:
    """Places in the file that the user gave, as JSON Pointers."""
    return [
        Fault(pointer=one.location.partition("#")[2], code=one.code, detail=one.message)
        for one in getattr(error, "findings", ())
        if one.location.startswith("detections#")
    ]


def _warn(options: argparse.Namespace, code: str, message: str) -> None:
    """To whoever listens: those who read the events, or who look at the terminal."""
    if options.writer is None:
        log.warning("%s", message)
    else:
        options.writer.write(NoticeEvent(code=code, message=message))


def _out_of_room(options: argparse.Namespace, error: OSError) -> int:
    """A full disk may have no room for the event either: then the exit code says it."""
    told = StorageFull(
        f"No room is left on the disk of {options.run} ({error.strerror}).",
        hint="Make room there; the last checkpoint is whole, and a training goes on from it.",
    )
    with suppress(OSError):
        options.writer.write(ErrorEvent(code=told.code, message=told.message, hint=told.hint))
    log.error("%s", _said(told))
    return EXIT_STORAGE_FULL


def _train(options: argparse.Namespace) -> int:
    stopping = () if not hasattr(signal, "SIGUSR1") else (signal.SIGUSR1,)
    with _asked_by(signal.SIGTERM, signal.SIGINT) as interrupted, _asked_by(*stopping) as stopped:
        return _train_until(interrupted, lambda: options.stop or stopped(), options)


def _train_until(
    interrupted: Callable[[], bool], stop: Callable[[], bool], options: argparse.Namespace
) -> int:
    config = _config(options.config)
    from detector.engine import Interrupted, train
    from detector.initial_weights import given_on_command_line
    from detector.precision import use_available_cores

    use_available_cores()
    keep_freed_memory()
    initial = None
    if options.initial_weights is not None:
        config, initial = given_on_command_line(config, options.initial_weights)
    data = _dataset(options.data, options.run / "dataset")
    try:
        train(
            config,
            data,
            options.run,
            resume=options.resume,
            initial=initial,
            writer=options.writer,
            interrupted=interrupted,
            stop=stop,
        )
    except Interrupted:
        from detector.checkpoint import paths

        kept = paths(options.run / "checkpoints")
        log.warning("interrupted%s", f"; continue with --resume {kept[-1]}" if kept else "")
        return EXIT_INTERRUPTED
    if options.writer.muted:  # another process of the training says it
        return EXIT_COMPLETE
    result = json.loads((options.run / "result.json").read_text())
    _say(coco_table(result["metrics"]))
    if masks := of_masks(result["metrics"]):
        _say(f"of masks\n{coco_table(masks)}")
    log.info("the model is in %s", options.run / "artifacts")
    return EXIT_COMPLETE


def _evaluate(options: argparse.Namespace) -> int:
    if options.supervised and hasattr(os, "nice"):
        os.nice(_POLITE)
    given = {name for name in ("model", "data", "ground_truth", "index", "detections") if vars(options)[name]}
    ways: dict[frozenset[str], Callable[[argparse.Namespace], int]] = {
        frozenset({"model", "data"}): _evaluate_model,
        frozenset({"ground_truth", "detections"}): _evaluate_files,
        frozenset({"index", "detections"}): _evaluate_results,
    }
    way = ways.get(frozenset(given))
    if way is None or (way is _evaluate_files and options.run is not None):
        raise ConfigInvalid(
            "Say what to evaluate: a model by --model and --data, COCO files by --ground-truth and"
            " --detections, or COCO results on a dataset's index by --index and --detections."
        )
    return way(options)


def _evaluate_model(options: argparse.Namespace) -> int:
    from detector.data.materialise import load
    from detector.evaluate.classes import match_classes
    from detector.evaluate.coco import ground_truth
    from detector.evaluate.run import Course, check_classes, require_images

    card = _card(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        data = _dataset(options.data, Path(scratch) / "dataset")
        index = load(data)
        images = [image for image in index.images if image.split == options.split]
        require_images(images, options.split, index.splits())
        check_classes(index.categories)
        matched = match_classes(card.classes, index.categories)
        for warning in matched.warnings:
            _warn(options, "classes_differ", warning)
        course = Course(options.writer, len(images))
        course.phase()
        if options.engine == "torch":
            from detector import artifacts
            from detector.data.loading import EvaluationSet
            from detector.evaluate.split import detect

            detector, _ = artifacts.load_model(options.model)
            evaluation_set = EvaluationSet(data, images, card.input)
            found = detect(detector, evaluation_set, matched.ids, batch_size=8, between_batches=course.alive)
        else:
            from detector.evaluate.served import detect_one_by_one
            from detector.runtime import OnnxDetector

            onnx = OnnxDetector(options.model / "model.onnx", card, threads=_cores())
            found = detect_one_by_one(onnx, data, images, matched.ids, after_image=course.image)
    # A class that the dataset lacks cannot be right or wrong there.
    found = [one for one in found if one["category_id"] != matched.unknown]
    _measure(
        ground_truth(images, index.categories),
        found,
        options,
        course,
        split=options.split,
        warnings=matched.warnings,
    )
    return EXIT_COMPLETE


def _card(folder: Path) -> "ModelCard":
    """`model.json` of an artifacts folder. Raises ModelInvalid."""
    from detector.runtime import ModelCard

    try:
        return ModelCard.model_validate_json((folder / "model.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelInvalid(f"model.json cannot be read: {error}") from error


def _evaluate_results(options: argparse.Namespace) -> int:
    """COCO results on a split of a dataset, of which only the index is needed."""
    import msgspec

    from detector.data import index_file
    from detector.evaluate import results
    from detector.evaluate.coco import ground_truth
    from detector.evaluate.run import Course, check_classes, require_images

    try:
        index = index_file.decode(_read(options.index))
    except msgspec.DecodeError as error:
        raise DatasetInvalid(f"{options.index.name} is no dataset index: {error}.") from error
    images = [image for image in index.images if image.split == options.split]
    require_images(images, options.split, index.splits())
    check_classes(index.categories)
    course = Course(options.writer, len(images))
    course.phase()
    truth, found = results.check(
        ground_truth(images, index.categories), results.read_detections(options.detections)
    )
    _measure(truth, found, options, course, split=options.split, warnings=[])
    return EXIT_COMPLETE


def _evaluate_files(options: argparse.Namespace) -> int:
    from detector.evaluate import results
    from detector.evaluate.run import Course

    truth, found = results.check(
        results.read(options.ground_truth), results.read_detections(options.detections)
    )
    _measure(truth, found, options, Course(None, len(truth["images"])))
    return EXIT_COMPLETE


def _measure(
    truth: dict[str, Any],
    found: list[dict[str, Any]],
    options: argparse.Namespace,
    course: "Course",
    *,
    split: str | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Says COCO's numbers, of masks too where there are any, and writes the whole report if it is wanted."""
    from dataclasses import asdict

    from detector.evaluate import results
    from detector.evaluate.coco import evaluate
    from detector.evaluate.report import full_report, has_masks
    from detector.evaluate.run import Wishes, write_run

    wishes = Wishes(options.score_threshold, options.precision, options.voc_inclusive, options.evaluator)
    if options.run is not None:
        result = write_run(
            options.run,
            truth,
            found,
            wishes,
            split=str(split),
            warnings=warnings,
            keep_detections=options.detections is None,
            alive=course.alive,
        )
        log.info("\n%s", coco_table(result["metrics"]))
        _say(json.dumps({key: result[key] for key in ("split", "metrics", "per_class")}))
        return
    what = {} if split is None else {"split": split}
    measured = evaluate(truth, found, evaluator=wishes.evaluator)
    log.info("\n%s", coco_table(measured.metrics))
    said = what | {"metrics": measured.metrics, "per_class": [asdict(one) for one in measured.per_class]}
    if has_masks(truth, found):
        by_mask = evaluate(truth, found, "segm", wishes.evaluator)
        log.info("of masks\n%s", coco_table(by_mask.metrics))
        said["segm"] = {
            "metrics": by_mask.metrics,
            "per_class": [asdict(one) for one in by_mask.per_class],
        }
    if options.report is not None:
        report = what | full_report(
            truth,
            found,
            choose_on=None if options.choose_on is None else tuple(map(results.read, options.choose_on)),
            candidates=None if options.candidates is None else results.read(options.candidates),
            **asdict(wishes),
        )
        _write(options.report, json.dumps(report, allow_nan=False))
        log.info("the report is in %s", options.report)
    _say(json.dumps(said))


def _compare(options: argparse.Namespace) -> int:
    if options.supervised and hasattr(os, "nice"):
        os.nice(_POLITE)
    from detector.compare.result import head
    from detector.compare.run import write_run

    result = write_run(options.comparison, options.run, options.writer)
    for warning in result["warnings"]:
        _warn(options, "comparison_caveat", warning)
    log.info("the report is in %s", options.run / "artifacts")
    _say(json.dumps(head(result)))
    return EXIT_COMPLETE


def _suggest(options: argparse.Namespace) -> int:
    from detector.search.run import write_run

    _say(json.dumps(write_run(options.search, options.run)))
    return EXIT_COMPLETE


def _predict(options: argparse.Namespace) -> int:
    from detector.draw import draw
    from detector.images import decode
    from detector.runtime import ModelCard, OnnxDetector

    card = ModelCard.model_validate_json(_read(options.model / "model.json"))
    image = decode(_read(options.image))
    threshold = card.score_threshold if options.score_threshold is None else options.score_threshold
    found = OnnxDetector(options.model / "model.onnx", card, threads=_cores()).detect(image)
    found = found.select(score_threshold=threshold, max_detections=options.max_detections)
    _say(
        json.dumps(
            {
                "image": {"width": image.shape[1], "height": image.shape[0]},
                "detections": [
                    {
                        "box": [round(float(v), 2) for v in found.boxes[i]],
                        "score": round(float(found.scores[i]), 4),
                        "class_id": int(found.class_ids[i]),
                        "class_name": found.class_names[i],
                    }
                    | ({"segmentation": found.run_lengths(i)} if card.masks else {})
                    for i in range(len(found))
                ],
            }
        )
    )
    if options.draw is not None:
        from PIL import Image

        Image.fromarray(draw(image, found)).save(options.draw)
        log.info("drawn to %s", options.draw)
    return EXIT_COMPLETE


def _export(options: argparse.Namespace) -> int:
    from detector import artifacts, checkpoint
    from detector.data.loading import EvaluationSet
    from detector.data.materialise import load
    from detector.data.records import Category
    from detector.engine import choose_splits
    from detector.models import build

    path: Path | None = options.checkpoint
    if path is None:
        kept = checkpoint.paths(options.run / "checkpoints")
        if not kept:
            raise ConfigInvalid(f"{options.run} has no checkpoint.")
        path = kept[-1]
    out: Path = options.out or path.parent.parent / "artifacts"
    state = checkpoint.load(path)
    config = TrainConfig.model_validate(state["config"])
    categories = [Category(one["id"], one["name"]) for one in state["classes"]]
    detector = build(config.architecture, config.loss, len(categories))
    best = state["best"]
    if best is None:
        log.warning("no evaluation yet: exporting the averaged weights as they are")
    detector.load_state_dict(state["average"] if best is None else best["weights"])
    with tempfile.TemporaryDirectory() as scratch:
        data = _dataset(options.data or path.parent.parent / "dataset", Path(scratch) / "dataset")
        splits = choose_splits(load(data), config)
        evaluation_set = EvaluationSet(data, splits.evaluation, detector.input_spec)
        card = artifacts.card_of(config, detector, categories)
        parity = artifacts.write_model(out, detector.eval(), card, evaluation_set)
    log.info("exported to %s", out)
    _say(json.dumps({"artifacts": str(out), "parity": parity.as_dict()}))
    return EXIT_COMPLETE


def _inspect(options: argparse.Namespace) -> int:
    options.writer.write(PhaseEvent(phase="preparing"))
    import msgspec

    from detector.data import index_file
    from detector.data.inspect import SplitOptions, inspect

    asked = _json(options.options)
    unknown = set(asked) - {"format", "on_invalid", "split", "strict_decode"}
    if unknown:
        raise ConfigInvalid(f"There is no option {', '.join(sorted(unknown))}.")
    if asked.get("split") is not None:
        try:
            asked["split"] = SplitOptions(**asked["split"])
        except TypeError as error:
            raise ConfigInvalid(f"The option split does not fit: {error}.") from error
    (options.run / "result.json").unlink(missing_ok=True)
    index, report = inspect(options.archive, **asked)
    folder = options.run / "artifacts"
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.encode(report))
    if index is not None:
        with (folder / "index.json").open("wb") as file:
            file.writelines(index_file.parts(index))
    result = {"valid": report.valid, "format": report.format, "summary": report.summary}
    temporary = options.run / "result.json.tmp"
    temporary.write_bytes(msgspec.json.encode(result))
    temporary.rename(options.run / "result.json")
    log.info("the dataset is %s: %s", "valid" if report.valid else "invalid", folder / "report.json")
    return EXIT_COMPLETE


def _synthesize(options: argparse.Namespace) -> int:
    from detector.data.synthetic import write_synthetic

    write_synthetic(
        options.out,
        images=options.images,
        val_images=options.val_images,
        size=options.size,
        seed=options.seed,
    )
    log.info("%d images in %s", options.images + options.val_images, options.out)
    return EXIT_COMPLETE


# --- what the subcommands share ---


@contextmanager
def _asked_by(*signals: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Whether one of the signals has come; a second Ctrl-C ends the process at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(text: str | None) -> TrainConfig:
    """The config from a file or from JSON itself. Raises ConfigInvalid, naming each field at fault."""
    if text is None:
        return TrainConfig()
    try:
        return TrainConfig.model_validate_json(_text(text))
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'config'}: {one['msg']}" for one in error.errors())
        raise ConfigInvalid(f"The config is invalid. {'; '.join(faults)}.") from error


def _json(text: str) -> dict[str, Any]:
    """An object, from a file or from JSON itself. Raises ConfigInvalid."""
    try:
        value = json.loads(_text(text))
    except ValueError as error:
        raise ConfigInvalid(f"{text} is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{text} is no JSON object.")
    return value


def _text(given: str) -> str:
    return given if given.lstrip().startswith("{") else _read(Path(given)).decode("utf-8", "replace")


def _dataset(source: Path, destination: Path) -> Path:
    """A materialised dataset: `source` itself, or what inspecting an archive gives."""
    if source.is_dir():
        return source
    if not source.exists():
        raise DatasetInvalid(f"There is no dataset at {source}.")
    from detector.data.inspect import inspect
    from detector.data.materialise import materialise

    index, report = inspect(source)
    if index is None or not report.valid:
        raise DatasetInvalid(
            "The dataset is invalid. " + " ".join(f"{f.location}: {f.message}" for f in report.findings[:5]),
            hint="`python -m detector inspect` writes the whole report.",
        )
    log.info("%s: %s", source.name, _summary(index, report.findings_total))
    materialise(source, index, destination)
    return destination


def _summary(index: "DatasetIndex", findings: int) -> str:
    splits = ", ".join(f"{name} {count}" for name, count in sorted(index.splits().items()))
    boxes = sum(len(image.annotations) for image in index.images)
    classes = len(index.categories)
    return f"{len(index.images)} images ({splits}), {boxes} boxes, {classes} classes, {findings} findings"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}.") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be written: {error.strerror}.") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _said(error: DetectorError) -> str:
    return f"{error.code}: {error.message}" + (f" ({error.hint})" if error.hint else "")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m detector", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str) -> Any:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function, makes_run=False)
        return added

    train = command("train", _train, "Train a detector on a dataset.")
    train.add_argument(
        "--data", type=Path, required=True, help="dataset archive (zip) or materialised dataset"
    )
    train.add_argument("--config", help="file with a training config, or the JSON itself; defaults otherwise")
    train.add_argument(
        "--run", type=Path, required=True, help="directory for events, checkpoints and the model"
    )
    train.add_argument("--resume", type=Path, help="checkpoint to continue from")
    train.add_argument(
        "--initial-weights",
        type=Path,
        help="artifacts directory of a training to go on from, or file with a backbone's weights"
        " (safetensors, or a state_dict saved by torch)",
    )
    train.add_argument(
        "--stop",
        action="store_true",
        help="take no further step: evaluate and export what has been learned (SIGUSR1 to one that runs)",
    )
    _supervised(train)

    evaluate = command("evaluate", _evaluate, "Measure a model on a split of a dataset, or any COCO results.")
    evaluate.add_argument("--model", type=Path, help="artifacts directory of a training")
    evaluate.add_argument("--data", type=Path, help="dataset archive (zip) or materialised dataset")
    evaluate.add_argument("--split", default="val", help="of --data or --index (default: val)")
    evaluate.add_argument("--engine", choices=["onnx", "torch"], default="onnx")
    evaluate.add_argument("--ground-truth", type=Path, help="COCO dataset (JSON), instead of --model")
    evaluate.add_argument("--index", type=Path, help="index of an inspected dataset, instead of --model")
    evaluate.add_argument("--detections", type=Path, help="COCO results (JSON) on --ground-truth or --index")
    evaluate.add_argument(
        "--run", type=Path, help="directory for events, the report and what it is about; not COCO files"
    )
    evaluate.add_argument(
        "--evaluator",
        choices=["harmonicdet", "pycocotools"],
        default="harmonicdet",
        help="who measures; the numbers are the same (default: harmonicdet, which is faster)",
    )
    evaluate.add_argument("--report", type=Path, help="where to write all measures (JSON)")
    evaluate.add_argument(
        "--choose-on",
        type=Path,
        nargs=2,
        metavar=("GROUND_TRUTH", "DETECTIONS"),
        help="of another split, to choose operating points on (for --report)",
    )
    evaluate.add_argument(
        "--candidates", type=Path, help="COCO results before non-maximum suppression (for --report)"
    )
    evaluate.add_argument(
        "--voc-inclusive", action="store_true", help="VOC's AP with corners that are pixels of the box"
    )
    evaluate.add_argument(
        "--score-threshold", type=float, help="of the confusion matrix (default: the one of the best F1)"
    )
    evaluate.add_argument(
        "--precision", type=float, default=0.9, help="what an operating point must reach (default: 0.9)"
    )
    _supervised(evaluate)

    compare = command("compare", _compare, "Compare trainings of several configs, each with several seeds.")
    compare.add_argument(
        "--comparison", type=Path, required=True, help="file that says what to compare (docs/comparisons.md)"
    )
    compare.add_argument("--run", type=Path, required=True, help="directory for events and the report")
    _supervised(compare)

    suggest = command("suggest", _suggest, "Say what a search for hyper-parameters should try next.")
    suggest.add_argument(
        "--search", type=Path, required=True, help="file that says what was tried (docs/search.md)"
    )
    suggest.add_argument("--run", type=Path, required=True, help="directory for events and the result")
    _supervised(suggest)

    predict = command("predict", _predict, "Detect on an image.")
    predict.add_argument("--model", type=Path, required=True, help="artifacts directory of a training")
    predict.add_argument("--image", type=Path, required=True)
    predict.add_argument("--draw", type=Path, help="where to save the image with its detections")
    predict.add_argument("--score-threshold", type=float, help="default: the model's own")
    predict.add_argument("--max-detections", type=int, default=100)

    export = command("export", _export, "Export a checkpoint to ONNX and safetensors, with the parity check.")
    source = export.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="run directory; its last checkpoint is taken")
    source.add_argument("--checkpoint", type=Path)
    export.add_argument("--data", type=Path, help="dataset for the parity check; default: the run's own")
    export.add_argument("--out", type=Path, help="default: the run's artifacts directory")

    inspect = command("inspect", _inspect, "Read and check a dataset archive.")
    inspect.add_argument("--archive", type=Path, required=True)
    inspect.add_argument("--run", type=Path, required=True)
    inspect.add_argument("--options", default="{}", help="JSON or a file with it: format, on_invalid, split")
    _supervised(inspect)

    synthesize = command("synthesize", _synthesize, "Write a small synthetic dataset.")
    synthesize.add_argument("out", type=Path)
    synthesize.add_argument("--images", type=int, default=240, help="for training")
    synthesize.add_argument("--val-images", type=int, default=40)
    synthesize.add_argument("--size", type=int, default=320)
    synthesize.add_argument("--seed", type=int, default=0)
    return parser


def _supervised(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(makes_run=True, writer=None)
    parser.add_argument("--supervised", action="store_true", help="end when standard input is closed")


if __name__ == "__main__":
    sys.exit(main())
