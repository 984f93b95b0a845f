/** The modules that come with the page: made by the trainer when the page is built. */

export interface Shipped {
  name: string;
  /** What it was trained on, in a few words. */
  about: string;
  file: string;
  digest: string;
  bytes: number;
  kind: string;
  /** Events to try it on. */
  sample: string | null;
}

/** Where the page lies: its files are found beside it, whatever the address. */
const base = new URL("./", document.baseURI);

export function fileUrl(path: string): URL {
  return new URL(path, base);
}

let list: Promise<Shipped[]> | null = null;

/** All that are shipped. */
export function shipped(): Promise<Shipped[]> {
  list ??= fetchFile("detectors/index.json").then((response) => response.json() as Promise<Shipped[]>);
  return list;
}

/** A file of the page; an error in plain words if it cannot be had. */
export async function fetchFile(path: string): Promise<Response> {
  const response = await fetch(fileUrl(path)).catch(() => null);
  if (response === null) throw new Error(`${path} could not be fetched: is the page's server still there?`);
  if (!response.ok) throw new Error(`${path} could not be fetched: the server answered ${response.status}`);
  return response;
}

const modules = new Map<string, Promise<ArrayBuffer>>();

/** The bytes of a shipped module; a copy, for a worker may take it away. */
export async function moduleBytes(module: Shipped): Promise<ArrayBuffer> {
  let bytes = modules.get(module.file);
  if (bytes === undefined) {
    bytes = fetchFile(module.file).then((response) => response.arrayBuffer());
    modules.set(module.file, bytes);
  }
  return (await bytes).slice(0);
}
