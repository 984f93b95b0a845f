import { useRef, useState } from "preact/hooks";
import { Icon } from "./icon";

/** A place to drop a file on, or to choose one by keyboard. */
export function DropZone({ label, hint, accept, onFile, chosen }: { label: string; hint: string; accept: string; onFile: (file: File) => void; chosen?: string | undefined }) {
  const input = useRef<HTMLInputElement>(null);
  const [isOver, setOver] = useState(false);
  const take = (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (file !== undefined) onFile(file);
  };
  const over = (event: DragEvent) => {
    event.preventDefault();
    setOver(true);
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer?.files);
  };
  return (
    <label class={`drop ${isOver ? "is-over" : ""} ${chosen === undefined ? "" : "is-chosen"}`} onDragOver={over} onDragLeave={() => setOver(false)} onDrop={drop}>
      <input
        ref={input}
        type="file"
        accept={accept}
        onChange={() => {
          take(input.current?.files);
          // The same file again is a choice too.
          if (input.current !== null) input.current.value = "";
        }}
      />
      <Icon name={chosen === undefined ? "upload" : "check"} />
      <span class="drop-label">{chosen ?? label}</span>
      <span class="drop-hint">{chosen === undefined ? hint : "Drop another, or choose one"}</span>
    </label>
  );
}
