import { useEffect, useMemo, useState } from "preact/hooks";
import { fetchFile } from "../modules";
import { Digest } from "../parts/facts";
import { Icon } from "../parts/icon";
import { Notice } from "../parts/notice";
import { count, percent, sentence } from "../parts/words";
import { CancelledError, WorkerClient } from "../workers/client";
import type { ProofResult } from "../workers/prove.worker";

interface Proof {
  name: string;
  kind: string;
  digest: string;
  module: string;
  events: string;
  scores: string;
  count: number;
}

type State = { share: number } | ProofResult | null;

export function View() {
  const worker = useMemo(() => new WorkerClient(() => new Worker(new URL("../workers/prove.worker.ts", import.meta.url), { type: "module" })), []);
  useEffect(() => () => worker.cancel(), [worker]);
  const [proofs, setProofs] = useState<Proof[]>([]);
  const [states, setStates] = useState<Record<string, State>>({});
  const [isRunning, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const set = (name: string, state: State) => setStates((before) => ({ ...before, [name]: state }));
  useEffect(() => {
    fetchFile("prove/index.json")
      .then((response) => response.json() as Promise<Proof[]>)
      .then(setProofs, setError);
  }, []);
  const run = async () => {
    setRunning(true);
    setError(null);
    setStates({});
    try {
      for (const proof of proofs) await one(proof);
    } catch (problem) {
      if (!(problem instanceof CancelledError)) setError(problem);
    } finally {
      setRunning(false);
    }
  };
  const one = async (proof: Proof) => {
    set(proof.name, { share: 0 });
    const bytes = (file: string) => fetchFile(`prove/${file}`).then((response) => response.arrayBuffer());
    const [module, events, scores] = await Promise.all([bytes(proof.module), bytes(proof.events), bytes(proof.scores)]);
    const onProgress = (share: number) => set(proof.name, { share });
    set(proof.name, await worker.call<ProofResult, number>("prove", { module, events, scores }, { onProgress, patienceMs: 60_000 }));
  };
  return (
    <div class="view prove">
      <div class="lead">
        <h1>The same scores everywhere, to the last bit</h1>
        <p>
          When this page was built, the cloud host and the edge agent scored these files with wasmtime. Let your browser score them too, and compare every score and every verdict.
        </p>
      </div>
      <section class="card step" aria-label="Proof">
        <div class="actions">
          <button type="button" class="primary" disabled={isRunning || proofs.length === 0} onClick={() => void run()}>
            {isRunning ? "Scoring …" : "Score and compare"}
          </button>
        </div>
        <Verdict proofs={proofs} states={states} />
        {error !== null && <Notice kind="error" title="Not compared">{sentence(error)}</Notice>}
        <ul class="proofs">
          {proofs.map((proof) => (
            <ProofItem key={proof.name} proof={proof} state={states[proof.name] ?? null} />
          ))}
        </ul>
      </section>
    </div>
  );
}

function isResult(state: State): state is ProofResult {
  return state !== null && "identical" in state;
}

/** The sum of it, once all are done. */
function Verdict({ proofs, states }: { proofs: Proof[]; states: Record<string, State> }) {
  const results = proofs.map(({ name }) => states[name] ?? null).filter(isResult);
  if (proofs.length === 0 || results.length < proofs.length) return null;
  const all = results.reduce((sum, { count }) => sum + count, 0);
  const identical = results.reduce((sum, result) => sum + result.identical, 0);
  const title = `${count(identical)} of ${count(all)} bit-identical`;
  return identical === all ? (
    <Notice kind="good" title={title}>Score and verdict of every event are those of host and agent.</Notice>
  ) : (
    <Notice kind="error" title={title}>This browser computes something differently. Below is the first event of each file for which it does.</Notice>
  );
}

function ProofItem({ proof, state }: { proof: Proof; state: State }) {
  return (
    <li class="proof" data-state={isResult(state) ? (state.first === null ? "same" : "different") : "open"}>
      <div class="proof-name">
        <h3>{proof.name}</h3>
        <p class="aside">
          {proof.kind.replaceAll("+", " + ")}, {count(proof.count)} events
        </p>
      </div>
      <Digest digest={isResult(state) ? state.digest : proof.digest} />
      <p class="proof-state">{stateWords(state)}</p>
      {isResult(state) && state.first !== null && (
        <p class="proof-difference">
          Event {count(state.first.event)}: here <code>{state.first.found}</code>, host and agent <code>{state.first.expected}</code>
        </p>
      )}
    </li>
  );
}

function stateWords(state: State) {
  if (state === null) return <span class="aside">not compared yet</span>;
  if (!isResult(state)) return <span class="number">{percent(Math.floor(state.share * 100) / 100)}</span>;
  return (
    <>
      <Icon name={state.first === null ? "check" : "cross"} /> {count(state.identical)} of {count(state.count)} bit-identical
    </>
  );
}
