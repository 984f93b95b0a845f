"""Other programs that score forests, measured on the same forest, rows and machine.

    peers.py prepare DIR --trees 100 --rows-per-tree 256 --features 16 --seed 1
    peers.py check DIR
    peers.py serve DIR

`prepare` fits scikit-learn's isolation forest and writes it for each peer. It takes gcc. In DIR:

    forest.json     the forest, so that others can build it (below)
    training.bin    rows it was fitted on, float32, little endian, row after row
    queries.bin     65,536 rows to score, laid out likewise; one in fifty lies outside
    events.ndjson   20,000 events for River: numbers x0 to x9, most of them around 0.5
    peers.json      settings, versions, and how long each step took; also printed
    forest.pickle, forest.onnx, ensemble.onnx, treelite.bin, tl2cgen/     the peers' own

`forest.json` is {"format": 1, "trees", "features", "rows_per_tree", "depth", "norm": bits, "forest":
[tree, ...]}, and a tree is {"feature": [], "threshold": [], "left": [], "right": [], "path": []} with
an item a node, the root first. A leaf has left -1, right -1, feature -1 and threshold 0; other nodes
send a row left when its feature is at most the threshold, and have path 0. Thresholds are bits of a
float32. A leaf's path, which is its depth plus c(rows in it), and the norm, which is trees times
c(rows_per_tree), are bits of a float64. The score of a row is 2 ** -(sum of paths / norm), and
scikit-learn's score_samples is the negative of it.

The lower half of each threshold's bits is zero, since Twinge stores no more. Training rows are so
too, and each threshold is rounded down to such a number only after the fit. So no training row goes
another way than it did when its leaf counted it.

`serve` reads a command a line and answers each with one line of JSON.

    {"peer": "sklearn", "batch": 64, "seconds": 0.5}
    {"peer": "sklearn", "batch": 64, "calls": 139, "rows": 8896, "ns_per_row": 56320.1,
     "cpu_ns_per_row": 56100.7, "checksum": -28.02, "checksum_rows": 64}

Calls follow each other until the time is over, each on the next rows of queries.bin. They include what
a user of Python pays: making a DMatrix, allocating the result. What is paid once is left out, and each
command warms up first. The checksum is the sum of score_samples over the first checksum_rows
queries, in whole batches and 64 at least; it does not depend on the time. CPU time is that of all
threads: far below the time itself, it tells that something else ran. Peers run in one thread:

    sklearn                 IsolationForest.score_samples
    onnxruntime             what skl2onnx makes of it: an operator a tree, and a dozen more for each
    onnxruntime-ensemble    the same forest as one operator for all trees, which skl2onnx does not make
    gtil                    Treelite's interpreter, on float32
    tl2cgen                 C made from Treelite's model, by gcc -O3, on float32

    {"peer": "river", "events": 20000}
    {"peer": "river", "events": 20000, "events_per_second": 29412.2, "ns_per_event": 33999.5,
     "cpu_ns_per_event": 33800.1, "checksum": 15119.08}

River's half-space trees (10 of height 8, window of 250) read each event from its line of JSON, score
it and learn it. A new model has learnt the file's first 1,000 events before the time starts, and then
events come from the file's start, again and again if need be. The checksum is the sum of scores.

What cannot be done is answered with {"error": "..."}. An end of input ends the program.

`check` scores 1,000 rows with each peer and with plain Python from forest.json. It prints the largest
differences to scikit-learn, and fails when one is above 1e-5.
"""

import os

# Before any library is loaded. The last two would choose slow kernels where they are set.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import gc
import itertools
import json
import math
import pickle
import platform
import shutil
import struct
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

FORMAT = 1
TRAINING_ROWS = 16_384
QUERIES = 65_536
CHECKED = 1_000
TOLERANCE = 1e-5
CHECKSUM_ROWS = 64
PACKAGES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "treelite", "tl2cgen", "river")
EVENTS = 20_000
EVENT_FIELDS = 10
LEARNT_BEFORE = 1_000
OPSETS = {"": 18, "ai.onnx.ml": 3}


# Data


def rows(random, count, features, outlying):
    """Rows of three skewed clusters, and a share of them anywhere."""
    shape = np.random.default_rng(features)
    centres = shape.normal(0, 2, (3, features))
    mixing = shape.normal(0, 1, (3, features, features)) / math.sqrt(features)
    cluster = random.integers(0, 3, count)
    noise = random.normal(0, 1, (count, features))
    normal = np.empty((count, features))
    for index in range(3):
        own = cluster == index
        normal[own] = centres[index] + noise[own] @ mixing[index]
    outside = random.random(count) < outlying
    normal[outside] = random.uniform(-8, 8, (int(outside.sum()), features))
    return normal.astype(np.float32)


def floor_to_16_bits(values):
    """The largest numbers not above `values` of which a float32 has only upper bits."""
    single = values.astype(np.float32)
    single = np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single)
    bits = single.view(np.uint32)
    lower = bits & np.uint32(0xFFFF)
    # Magnitude and sign: cutting off makes negative numbers larger.
    up = np.where((lower != 0) & (single < 0), np.uint32(0x10000), np.uint32(0))
    return (bits - lower + up).view(np.float32)


def events(random):
    """Lines of JSON, one an event."""
    values = random.normal(0.5, 0.1, (EVENTS, EVENT_FIELDS))
    outside = random.random(EVENTS) < 0.01
    values[outside] = random.random((int(outside.sum()), EVENT_FIELDS))
    for event in np.round(values.clip(0, 1), 6).tolist():
        yield json.dumps({f"x{field}": value for field, value in enumerate(event)}) + "\n"


def write_floats(path, values):
    path.write_bytes(values.astype("<f4").tobytes())


def read_floats(path, features):
    return np.frombuffer(path.read_bytes(), dtype="<f4").reshape(-1, features).astype(np.float32)


# The forest in a neutral form


def average_path(count):
    """c(n) of the paper, with the harmonic number as scikit-learn has it."""
    if count <= 2:
        return float(max(count - 1, 0))
    return 2 * (math.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count


def neutral_tree(tree):
    """Nodes of scikit-learn's tree as lists of plain numbers."""
    left, right = tree.children_left.tolist(), tree.children_right.tolist()
    feature, threshold = tree.feature.tolist(), tree.threshold.tolist()
    depth = [0] * len(left)
    # Children come after their parents.
    for node, child in enumerate(left):
        if child >= 0:
            depth[child] = depth[right[node]] = depth[node] + 1
    nodes = {"feature": [], "threshold": [], "left": left, "right": right, "path": []}
    for node, count in enumerate(tree.n_node_samples.tolist()):
        leaf = left[node] < 0
        nodes["feature"].append(-1 if leaf else feature[node])
        nodes["threshold"].append(0.0 if leaf else threshold[node])
        nodes["path"].append(depth[node] + average_path(count) if leaf else 0.0)
    return nodes


def bits(layout, value):
    """Bits of a number as a whole number."""
    return int.from_bytes(struct.pack(f"<{layout}", value), "little")


def from_bits(layout, whole):
    return struct.unpack(f"<{layout}", whole.to_bytes(struct.calcsize(layout), "little"))[0]


def forest_document(forest, settings, norm):
    def tree_document(tree):
        return tree | {
            "threshold": [bits("f", value) for value in tree["threshold"]],
            "path": [bits("d", value) for value in tree["path"]],
        }

    return {
        "format": FORMAT,
        "trees": settings.trees,
        "features": settings.features,
        "rows_per_tree": settings.rows_per_tree,
        "depth": math.ceil(math.log2(settings.rows_per_tree)),
        "norm": bits("d", norm),
        "forest": [tree_document(tree) for tree in forest],
    }


def plain_scores(document, queries):
    """score_samples by the slow, obvious walk."""
    norm = from_bits("d", document["norm"])
    forest = [
        tree
        | {
            "threshold": [from_bits("f", whole) for whole in tree["threshold"]],
            "path": [from_bits("d", whole) for whole in tree["path"]],
        }
        for tree in document["forest"]
    ]
    scores = []
    for row in queries.tolist():
        path = 0.0
        for tree in forest:
            node = 0
            while tree["left"][node] >= 0:
                right = row[tree["feature"][node]] > tree["threshold"][node]
                node = tree["right" if right else "left"][node]
            path += tree["path"][node]
        scores.append(-(2 ** -(path / norm)))
    return np.array(scores)


# The forest in the peers' forms


def fit(training, settings):
    """Scikit-learn's forest, with thresholds of sixteen bits."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(
        n_estimators=settings.trees, max_samples=settings.rows_per_tree, random_state=settings.seed
    ).fit(training)
    before = model.score_samples(training)
    for tree in (estimator.tree_ for estimator in model.estimators_):
        inner = tree.children_left >= 0
        tree.threshold[inner] = floor_to_16_bits(tree.threshold[inner])
    if not np.array_equal(before, model.score_samples(training)):
        sys.exit("rounded thresholds send training rows another way")
    return model


def skl2onnx_model(model, settings):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    return to_onnx(
        model,
        initial_types=[("rows", FloatTensorType([None, settings.features]))],
        options={id(model): {"score_samples": True}},
        target_opset=OPSETS,
    ).SerializeToString()


def ensemble_model(forest, settings, norm):
    """One operator that adds up the paths of all trees, and the power of two."""
    from onnx import TensorProto, helper

    nodes = [
        (number, node, *fields)
        for number, tree in enumerate(forest)
        for node, fields in enumerate(zip(*(tree[key] for key in ("feature", "threshold", "left", "right", "path"))))
    ]
    trees, ids, feature, threshold, left, right, _ = zip(*nodes)
    leaf = [child < 0 for child in left]
    leaves = [node for node in nodes if node[4] < 0]
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["paths"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=trees,
        nodes_nodeids=ids,
        nodes_featureids=[max(index, 0) for index in feature],
        nodes_values=threshold,
        nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf],
        nodes_truenodeids=[max(child, 0) for child in left],
        nodes_falsenodeids=[max(child, 0) for child in right],
        target_treeids=[node[0] for node in leaves],
        target_nodeids=[node[1] for node in leaves],
        target_ids=[0] * len(leaves),
        target_weights=[node[6] for node in leaves],
    )
    graph = helper.make_graph(
        [
            ensemble,
            helper.make_node("Mul", ["paths", "factor"], ["exponent"]),
            helper.make_node("Pow", ["two", "exponent"], ["score"]),
            helper.make_node("Neg", ["score"], ["score_samples"]),
        ],
        "isolation-forest",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, settings.features])],
        [helper.make_tensor_value_info("score_samples", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("factor", TensorProto.FLOAT, [1], [-1 / norm]),
            helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0]),
        ],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def treelite_model(forest, settings, norm):
    """Treelite's model on float32. What it imports from scikit-learn is on float64, which is slower."""
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    count = len(forest)
    builder = ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=Metadata(
            num_feature=settings.features,
            task_type="kIsolationForest",
            average_tree_output=True,
            num_target=1,
            num_class=[1],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=count, target_id=[0] * count, class_id=[0] * count),
        postprocessor=PostProcessorFunc(name="exponential_standard_ratio", ratio_c=norm / count),
        base_scores=[0.0],
    )
    for tree in forest:
        builder.start_tree()
        for node, left in enumerate(tree["left"]):
            builder.start_node(node)
            if left < 0:
                builder.leaf(tree["path"][node])
            else:
                builder.numerical_test(
                    feature_id=tree["feature"][node],
                    threshold=tree["threshold"][node],
                    default_left=False,
                    opname="<=",
                    left_child_key=left,
                    right_child_key=tree["right"][node],
                )
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def compile_c(model, folder):
    import tl2cgen

    shutil.rmtree(folder, ignore_errors=True)
    tl2cgen.generate_c_code(model, folder, {})
    # Its command has -O3.
    tl2cgen.create_shared("gcc", folder, nthread=1, long_build_time_warning=False)


def prepare(settings):
    folder, seconds = settings.folder, {}
    folder.mkdir(parents=True, exist_ok=True)

    def timed(step, work, *arguments):
        start = time.perf_counter()
        result = work(*arguments)
        seconds[step] = round(time.perf_counter() - start, 3)
        return result

    def random(purpose):
        return np.random.default_rng([settings.seed, purpose])

    training = floor_to_16_bits(rows(random(0), TRAINING_ROWS, settings.features, 0.01))
    write_floats(folder / "training.bin", training)
    write_floats(folder / "queries.bin", rows(random(1), QUERIES, settings.features, 0.02))
    with open(folder / "events.ndjson", "w", encoding="utf-8") as file:
        file.writelines(events(random(2)))

    model = timed("fit", fit, training, settings)
    (folder / "forest.pickle").write_bytes(pickle.dumps(model))
    forest = [neutral_tree(estimator.tree_) for estimator in model.estimators_]
    norm = settings.trees * average_path(settings.rows_per_tree)
    (folder / "forest.json").write_text(json.dumps(forest_document(forest, settings, norm)), encoding="utf-8")
    (folder / "forest.onnx").write_bytes(timed("skl2onnx", skl2onnx_model, model, settings))
    (folder / "ensemble.onnx").write_bytes(timed("ensemble", ensemble_model, forest, settings, norm))
    trees = timed("treelite", treelite_model, forest, settings, norm)
    trees.serialize(folder / "treelite.bin")
    timed("tl2cgen", compile_c, trees, folder / "tl2cgen")

    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    facts = {
        "trees": settings.trees,
        "rows_per_tree": settings.rows_per_tree,
        "features": settings.features,
        "seed": settings.seed,
        "versions": {"python": platform.python_version(), "gcc": gcc.splitlines()[0]}
        | {package: metadata.version(package) for package in PACKAGES},
        "seconds": seconds,
    }
    (folder / "peers.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


# The peers' calls: each maker loads a peer, and gives the call that is measured. What they return is
# score_samples, or its negative.


def sklearn_call(folder):
    # Written by `prepare`.
    return pickle.loads((folder / "forest.pickle").read_bytes()).score_samples


def onnxruntime_call(folder, name="forest.onnx"):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(
        (folder / name).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return lambda batch: session.run(["score_samples"], {"rows": batch})[0]


def ensemble_call(folder):
    return onnxruntime_call(folder, "ensemble.onnx")


def gtil_call(folder):
    import treelite

    model = treelite.Model.deserialize(folder / "treelite.bin")
    return lambda batch: treelite.gtil.predict(model, batch, nthread=1)


def tl2cgen_call(folder):
    import tl2cgen

    predictor = tl2cgen.Predictor(folder / "tl2cgen", nthread=1)
    return lambda batch: predictor.predict(tl2cgen.DMatrix(batch))


CALLS = {
    "sklearn": sklearn_call,
    "onnxruntime": onnxruntime_call,
    "onnxruntime-ensemble": ensemble_call,
    "gtil": gtil_call,
    "tl2cgen": tl2cgen_call,
}


def score_samples(call, batch):
    """Scores in one form."""
    scores = np.asarray(call(batch), dtype=np.float64).reshape(-1)
    return -np.abs(scores)


# Measuring


class Stopwatch:
    """Time and CPU time in nanoseconds, without collections of garbage in between."""

    def __enter__(self):
        gc.collect()
        gc.disable()
        self.cpu, self.start = time.process_time_ns(), time.perf_counter_ns()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter_ns() - self.start, time.process_time_ns() - self.cpu
        gc.enable()


class Server:
    """Answers commands. Loads what they need when they first do."""

    def __init__(self, folder):
        self.folder = folder
        self.document = json.loads((folder / "forest.json").read_text(encoding="utf-8"))
        self.queries = read_floats(folder / "queries.bin", self.document["features"])
        self.calls = {}
        self.lines = None

    def call(self, peer):
        if peer not in self.calls:
            self.calls[peer] = CALLS[peer](self.folder)
        return self.calls[peer]

    def answer(self, line):
        try:
            command = json.loads(line)
            peer = command["peer"]
            if peer == "river":
                return self.stream(command["events"])
            if peer not in CALLS:
                raise ValueError(f"no peer is called {peer}")
            return self.batches(peer, command["batch"], command["seconds"])
        except Exception as error:  # Whatever a library throws is an answer too.
            return {"error": f"{type(error).__name__}: {error}"}

    def batches(self, peer, batch, seconds):
        if not (type(batch) is int and 1 <= batch <= len(self.queries)):
            raise ValueError(f"batch is 1 to {len(self.queries)}")
        if not 0 < seconds <= 600:
            raise ValueError("seconds are above 0, and 600 at most")
        call = self.call(peer)
        batches = [self.queries[start : start + batch] for start in range(0, len(self.queries) - batch + 1, batch)]
        # This warms up as well, and so does a fifth of the time.
        first = batches[: -(-CHECKSUM_ROWS // batch)]
        checksum = sum(float(score_samples(call, part).sum()) for part in first)
        self.repeat(call, batches, seconds / 5)
        watch, calls = self.repeat(call, batches, seconds)
        rows = calls * batch
        return {
            "peer": peer,
            "batch": batch,
            "calls": calls,
            "rows": rows,
            "ns_per_row": watch.wall / rows,
            "cpu_ns_per_row": watch.cpu / rows,
            "checksum": checksum,
            "checksum_rows": len(first) * batch,
        }

    @staticmethod
    def repeat(call, batches, seconds):
        clock, calls = time.perf_counter_ns, 0
        with Stopwatch() as watch:
            end = watch.start + int(seconds * 1e9)
            for batch in itertools.cycle(batches):
                call(batch)
                calls += 1
                if clock() >= end:
                    break
        return watch, calls

    def stream(self, count):
        from river.anomaly import HalfSpaceTrees

        if not (type(count) is int and 1 <= count <= 100_000_000):
            raise ValueError("events are 1 to 100,000,000")
        if self.lines is None:
            self.lines = (self.folder / "events.ndjson").read_text(encoding="utf-8").splitlines()
        model = HalfSpaceTrees(n_trees=10, height=8, window_size=250, seed=1)

        def run(lines):
            total = 0.0
            for line in lines:
                event = json.loads(line)
                total += model.score_one(event)
                model.learn_one(event)
            return total

        run(self.lines[:LEARNT_BEFORE])
        with Stopwatch() as watch:
            checksum = run(itertools.islice(itertools.cycle(self.lines), count))
        return {
            "peer": "river",
            "events": count,
            "events_per_second": count * 1e9 / watch.wall,
            "ns_per_event": watch.wall / count,
            "cpu_ns_per_event": watch.cpu / count,
            "checksum": checksum,
        }


def check(folder):
    """Largest differences to scikit-learn, by peer."""
    server = Server(folder)
    # Training rows tie with thresholds, which other rows hardly do.
    training = read_floats(folder / "training.bin", server.document["features"])
    checked = np.concatenate([server.queries[: CHECKED - 200], training[:200]])
    wanted = score_samples(server.call("sklearn"), checked)
    found = {peer: score_samples(server.call(peer), checked) for peer in CALLS if peer != "sklearn"}
    found["forest.json"] = plain_scores(server.document, checked)
    return {
        "rows": len(checked),
        "lowest": float(wanted.min()),
        "highest": float(wanted.max()),
        "differences": {peer: float(np.abs(scores - wanted).max()) for peer, scores in found.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "check", "serve"):
        commands.add_parser(name).add_argument("folder", metavar="DIR", type=Path)
    for option, usual in (("--trees", 100), ("--rows-per-tree", 256), ("--features", 16), ("--seed", 1)):
        commands.choices["prepare"].add_argument(option, type=int, default=usual)
    settings = parser.parse_args()

    # Libraries that print do not print between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(answer):
        print(json.dumps(answer), file=answers, flush=True)

    if settings.command == "prepare":
        if settings.trees < 1 or settings.features < 1 or not 2 <= settings.rows_per_tree <= TRAINING_ROWS:
            parser.error(f"at least a tree and a feature, and 2 to {TRAINING_ROWS} rows a tree")
        tell(prepare(settings))
    elif settings.command == "check":
        result = check(settings.folder)
        tell(result)
        # Written so that not-a-number fails too.
        if not all(difference <= TOLERANCE for difference in result["differences"].values()):
            sys.exit(f"scores differ by more than {TOLERANCE}")
    else:
        server = Server(settings.folder)
        for line in sys.stdin:
            if line.strip():
                tell(server.answer(line))


if __name__ == "__main__":
    main()
