import { useEffect, useMemo, useState } from "preact/hooks";
import { guessMapping, wantedFields, type Mapping, type Schema } from "../engine/rows";
import { fetchFile, moduleBytes, shipped, type Shipped } from "../modules";
import { DropZone } from "../parts/drop-zone";
import { ModuleCard } from "../parts/module-card";
import { Notice } from "../parts/notice";
import { PreviewTable } from "../parts/preview-table";
import { Progress } from "../parts/progress";
import { count, sentence } from "../parts/words";
import { CancelledError, WorkerClient } from "../workers/client";
import type { Preview } from "../workers/files";
import type { ModuleInfo, ScoreProgress, ScoreResult } from "../workers/score.worker";
import { MappingForm } from "./mapping-form";
import { Results } from "./results";

/** Largest module that is taken; host and agent have the same bound. */
const MODULE_BYTES_MAX = 32 << 20;

type Trouble = { title: string; error: unknown };

interface Data {
  file: File;
  preview: Preview;
}

export function View() {
  const worker = useScoreWorker();
  // Looking at a file goes on while a module is changed, which ends the other worker.
  const reader = useScoreWorker();
  const [module, setModule] = useState<{ name: string; bytes: ArrayBuffer; info: ModuleInfo } | null>(null);
  const [data, setData] = useState<Data | null>(null);
  const [mapping, setMapping] = useState<Mapping>({});
  const [progress, setProgress] = useState<ScoreProgress | null>(null);
  const [result, setResult] = useState<ScoreResult | null>(null);
  const [trouble, setTrouble] = useState<Trouble | null>(null);

  useEffect(() => {
    if (module !== null && data !== null) setMapping(guessMapping(module.info.manifest.schema as Schema, data.preview.columns));
  }, [module, data]);
  const fail = (title: string) => (error: unknown) => {
    if (!(error instanceof CancelledError)) setTrouble({ title, error });
  };
  const begin = () => {
    setTrouble(null);
    setResult(null);
  };
  const takeModule = async (name: string, bytes: ArrayBuffer) => {
    begin();
    setModule(null);
    // A worker of its own for each module: what one leaves behind is nobody else's.
    worker.cancel();
    const info = await worker.call<ModuleInfo>("load", bytes);
    setModule({ name, bytes, info });
  };
  const dropModule = (file: File) => {
    const read = async () => {
      if (file.size > MODULE_BYTES_MAX) throw new Error(`the file has more than ${MODULE_BYTES_MAX >> 20} MiB, and no module has`);
      await takeModule(file.name, await file.arrayBuffer());
    };
    read().catch(fail("This module is refused"));
  };
  const takeData = async (file: File) => {
    begin();
    setData(null);
    setData({ file, preview: await reader.call<Preview>("preview", file) });
  };
  const choose = (choice: Shipped) => {
    moduleBytes(choice)
      .then((bytes) => takeModule(`${choice.name}.wasm`, bytes))
      .catch(fail("This module could not be loaded"));
  };
  const sample = async () => {
    const choice = (await shipped()).find(({ sample }) => sample !== null);
    if (choice?.sample == null) throw new Error("the page has no sample");
    const bytes = await moduleBytes(choice);
    const events = await (await fetchFile(choice.sample)).blob();
    await takeModule(`${choice.name}.wasm`, bytes);
    await takeData(new File([events], choice.sample.split("/").at(-1) ?? "sample.ndjson"));
  };
  const score = async () => {
    if (data === null || module === null) return;
    begin();
    setProgress({ rows: 0, anomalous: 0, bytes: 0, bytesAll: data.file.size });
    try {
      // After a cancelled or silent run the worker is new, and knows no module.
      await worker.call<ModuleInfo>("load", module.bytes);
      const request = { file: data.file, format: data.preview.format, mapping };
      setResult(await worker.call<ScoreResult, ScoreProgress>("score", request, { onProgress: setProgress }));
    } catch (error) {
      fail("The file could not be scored")(error);
    } finally {
      setProgress(null);
    }
  };
  const missing = module === null ? [] : missingFields(module.info.manifest.schema as Schema, mapping);
  return (
    <div class="view try">
      <div class="lead">
        <h1>Try a detector on your own data</h1>
        <p>Give a module and a file of events. All rows are scored here, in your browser; neither file leaves it.</p>
      </div>
      <div class="pair">
        <section class="card step" aria-label="Module">
          <h2>1. The module</h2>
          <DropZone label="Drop a detector.wasm" hint="or choose one" accept=".wasm,application/wasm" onFile={dropModule} chosen={module?.name} />
          {module === null ? <ShippedChoice onChoose={choose} /> : <ModuleCard info={module.info} />}
        </section>
        <section class="card step" aria-label="Data">
          <h2>2. The data</h2>
          <DropZone
            label="Drop a CSV or NDJSON file"
            hint="up to 100 MiB, in UTF-8"
            accept=".csv,.tsv,.txt,.ndjson,.jsonl,.json"
            onFile={(file) => void takeData(file).catch(fail("This file cannot be used"))}
            chosen={data?.file.name}
          />
          {data === null ? (
            <p class="aside">
              Nothing at hand?{" "}
              <button type="button" class="link" onClick={() => void sample().catch(fail("The sample could not be loaded"))}>
                Take the sample
              </button>
              : a detector of office temperatures, and months of a real office in which the heating failed.
            </p>
          ) : (
            <PreviewTable preview={data.preview} />
          )}
        </section>
      </div>
      {trouble !== null && <Notice kind="error" title={trouble.title}>{sentence(trouble.error)}</Notice>}
      {module !== null && data !== null && (
        <section class="card step" aria-label="Columns and scoring">
          <h2>3. Which column is which</h2>
          <MappingForm schema={module.info.manifest.schema as Schema} columns={data.preview.columns} mapping={mapping} onChange={setMapping} />
          {missing.length > 0 && <Notice kind="warning" title="Columns are missing">{missing.join(" ")}</Notice>}
          {progress === null ? (
            <div class="actions">
              <button type="button" class="primary" disabled={missing.length > 0} onClick={() => void score()}>
                Score all rows
              </button>
            </div>
          ) : (
            <Progress
              label={`${count(progress.rows)} rows scored, ${count(progress.anomalous)} anomalous`}
              share={progress.bytesAll > 0 ? progress.bytes / progress.bytesAll : 0}
              onCancel={() => worker.cancel()}
            />
          )}
        </section>
      )}
      {result !== null && module !== null && <Results result={result} worker={worker} name={module.info.manifest.name} />}
    </div>
  );
}

/** A worker that lives as long as the view. */
function useScoreWorker(): WorkerClient {
  const worker = useMemo(() => new WorkerClient(() => new Worker(new URL("../workers/score.worker.ts", import.meta.url), { type: "module" })), []);
  useEffect(() => () => worker.cancel(), [worker]);
  return worker;
}

/** Sentences on what the file must have and has not. Inputs may be missing, though not all. */
function missingFields(schema: Schema, mapping: Mapping): string[] {
  const wanted = wantedFields(schema);
  const inputs = wanted.filter(({ role }) => role === "number" || role === "category");
  const sentences = wanted
    .filter(({ field, role }) => (role === "entity" || role === "time") && !mapping[field])
    .map(({ field, role }) => `Choose the column for the ${role}, \`${field}\`.`);
  if (inputs.every(({ field }) => !mapping[field])) sentences.push("Choose a column for at least one input.");
  return sentences;
}

function ShippedChoice({ onChoose }: { onChoose: (module: Shipped) => void }) {
  const [list, setList] = useState<Shipped[]>([]);
  useEffect(() => void shipped().then(setList, () => setList([])), []);
  return (
    <div class="choices">
      <p class="aside">Or take one that comes with the page:</p>
      <ul>
        {list.map((module) => (
          <li key={module.name}>
            <button type="button" onClick={() => onChoose(module)}>
              {module.name}
            </button>
            <span>{module.about}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
