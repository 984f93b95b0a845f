/** The other end of `client.ts`: answers calls inside a worker. */

import type { FromWorker, ToWorker } from "./client";

type Handler = (argument: never, progress: (value: unknown) => void) => unknown;

/** Progress is told at most this often, so that telling costs nothing. */
const PROGRESS_EVERY_MS = 150;

export function serve(handlers: Record<string, Handler>): void {
  const post = (message: FromWorker) => postMessage(message);
  onmessage = async ({ data: { call, method, argument } }: MessageEvent<ToWorker>) => {
    let told = 0;
    const progress = (value: unknown) => {
      const now = performance.now();
      if (now - told < PROGRESS_EVERY_MS) return;
      told = now;
      post({ call, kind: "progress", value });
    };
    try {
      const handler = handlers[method];
      if (handler === undefined) throw new Error(`the worker has no function ${method}`);
      post({ call, kind: "done", value: await handler(argument as never, progress) });
    } catch (error) {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      post({ call, kind: "failed", name, message });
    }
  };
}
