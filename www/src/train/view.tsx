import { useEffect, useMemo, useState } from "preact/hooks";
import { DropZone } from "../parts/drop-zone";
import { Notice } from "../parts/notice";
import { PreviewTable } from "../parts/preview-table";
import { Progress } from "../parts/progress";
import { sentence } from "../parts/words";
import { CancelledError, WorkerClient } from "../workers/client";
import type { Preview } from "../workers/files";
import type { Inferred, TrainProgress, TrainResult } from "../workers/train.worker";
import { ColumnForm } from "./column-form";
import { configOf, nameOf, problems, settingsOf, type Settings } from "./config";
import { Report } from "./report";

interface Data {
  file: File;
  preview: Preview;
  notes: string[];
}

export function View() {
  const worker = useMemo(() => new WorkerClient(() => new Worker(new URL("../workers/train.worker.ts", import.meta.url), { type: "module" })), []);
  useEffect(() => () => worker.cancel(), [worker]);
  const [data, setData] = useState<Data | null>(null);
  const [settings, setSettings] = useState<Settings | null>(null);
  const [progress, setProgress] = useState<TrainProgress | null>(null);
  const [result, setResult] = useState<TrainResult | null>(null);
  const [trouble, setTrouble] = useState<{ title: string; error: unknown } | null>(null);
  const [isReading, setReading] = useState(false);

  const take = async (file: File) => {
    setTrouble(null);
    setResult(null);
    setData(null);
    setReading(true);
    try {
      const preview = await worker.call<Preview>("preview", file);
      const { schema, notes } = await worker.call<Inferred>("guess", file, { patienceMs: 60_000 });
      setData({ file, preview, notes });
      setSettings(settingsOf(schema, preview.columns, nameOf(file.name)));
    } catch (error) {
      if (!(error instanceof CancelledError)) setTrouble({ title: "This file cannot be used", error });
    } finally {
      setReading(false);
    }
  };
  const train = async () => {
    if (data === null || settings === null) return;
    setTrouble(null);
    setResult(null);
    setProgress({ step: "reading rows", share: 0 });
    try {
      const request = { file: data.file, config: configOf(settings), seed: settings.seed };
      setResult(await worker.call<TrainResult, TrainProgress>("fit", request, { onProgress: setProgress, patienceMs: Infinity }));
    } catch (error) {
      if (!(error instanceof CancelledError)) setTrouble({ title: "Training ended without a module", error });
    } finally {
      setProgress(null);
    }
  };
  const wrong = settings === null ? [] : problems(settings);
  return (
    <div class="view train">
      <div class="lead">
        <h1>Train a detector on your own data</h1>
        <p>
          The trainer itself runs here, compiled to WebAssembly. Data, configuration and seed give the module that <code>trainer train</code> gives, to the last byte; your file stays in
          the browser.
        </p>
      </div>
      <section class="card step" aria-label="Data">
        <h2>1. The data</h2>
        <DropZone label="Drop a CSV or NDJSON file of past events" hint="up to 100 MiB, in UTF-8" accept=".csv,.tsv,.txt,.ndjson,.jsonl,.json" onFile={(file) => void take(file)} chosen={data?.file.name} />
        {isReading && <p class="aside" role="status">Reading the file …</p>}
        {data !== null && <PreviewTable preview={data.preview} />}
      </section>
      {trouble !== null && <Notice kind="error" title={trouble.title}>{sentence(trouble.error)}</Notice>}
      {data !== null && settings !== null && (
        <section class="card step" aria-label="Columns and training">
          <h2>2. What the columns mean</h2>
          {data.notes.length > 0 && <p class="aside">{data.notes.map(sentence).join(" ")}</p>}
          <ColumnForm settings={settings} onChange={setSettings} />
          {wrong.length > 0 && <Notice kind="warning" title="Not ready to train">{wrong.join(" ")}</Notice>}
          {progress === null ? (
            <div class="actions">
              <button type="button" class="primary" disabled={wrong.length > 0} onClick={() => void train()}>
                Train
              </button>
            </div>
          ) : (
            <Progress label={sentence(progress.step).replace(/\.$/, "")} share={progress.share} onCancel={() => worker.cancel()} />
          )}
        </section>
      )}
      {result !== null && <Report result={result} />}
    </div>
  );
}
