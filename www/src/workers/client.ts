/**
 * Work in a worker, with progress, a watchdog and a way to end it. What a module or a file may do
 * wrong, up to never answering, stays in the worker.
 */

/** What a worker's functions look like from here. */
export type Api = Record<string, (argument: never) => unknown>;

/** A worker that did not answer in time; it has been ended. */
export class SilentError extends Error {
  override name = "SilentError";
}

/** A worker that was ended on purpose. */
export class CancelledError extends Error {
  override name = "CancelledError";
}

interface Call {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  onProgress: ((progress: never) => void) | undefined;
  watch: ReturnType<typeof setTimeout> | undefined;
  patienceMs: number;
}

export type FromWorker =
  | { call: number; kind: "progress"; value: unknown }
  | { call: number; kind: "done"; value: unknown }
  | { call: number; kind: "failed"; name: string; message: string };

export interface ToWorker {
  call: number;
  method: string;
  argument: unknown;
}

export interface CallOptions<P> {
  onProgress?: (progress: P) => void;
  /** How long the worker may say nothing at all. */
  patienceMs?: number;
}

export class WorkerClient {
  #make: () => Worker;
  #worker: Worker | null = null;
  #calls = new Map<number, Call>();
  #next = 0;

  constructor(make: () => Worker) {
    this.#make = make;
  }

  /** Calls a function of the worker, which is started if it does not run. */
  call<R, P = never>(method: string, argument: unknown, { onProgress, patienceMs = 10_000 }: CallOptions<P> = {}): Promise<R> {
    const worker = (this.#worker ??= this.#start());
    const number = this.#next++;
    return new Promise<R>((resolve, reject) => {
      const call: Call = {
        resolve: resolve as Call["resolve"],
        reject,
        onProgress: onProgress as Call["onProgress"],
        watch: undefined,
        patienceMs,
      };
      this.#calls.set(number, call);
      this.#rewind(call);
      worker.postMessage({ call: number, method, argument } satisfies ToWorker);
    });
  }

  /** Ends the worker and all that it does. */
  cancel(): void {
    this.#end(new CancelledError("cancelled"));
  }

  #start(): Worker {
    const worker = this.#make();
    worker.onmessage = (event: MessageEvent<FromWorker>) => this.#take(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#end(new Error(event.message || "the worker could not be started"));
    };
    return worker;
  }

  #take(message: FromWorker): void {
    const call = this.#calls.get(message.call);
    if (call === undefined) return;
    if (message.kind === "progress") {
      this.#rewind(call);
      call.onProgress?.(message.value as never);
      return;
    }
    clearTimeout(call.watch);
    this.#calls.delete(message.call);
    if (message.kind === "done") call.resolve(message.value);
    else call.reject(Object.assign(new Error(message.message), { name: message.name }));
  }

  #rewind(call: Call): void {
    clearTimeout(call.watch);
    if (!Number.isFinite(call.patienceMs)) return;
    call.watch = setTimeout(() => {
      const seconds = Math.round(call.patienceMs / 1000);
      this.#end(new SilentError(`it did not answer within ${seconds} seconds and was stopped`));
    }, call.patienceMs);
  }

  #end(error: Error): void {
    this.#worker?.terminate();
    this.#worker = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      clearTimeout(call.watch);
      call.reject(error);
    }
  }
}
