import { useState } from "preact/hooks";
import { plural, sentence } from "../parts/words";
import { send } from "./api";

/** Events by hand, for those who have the token; it is kept no longer than the page. */
export function SendForm() {
  const [events, setEvents] = useState("");
  const [token, setToken] = useState("");
  const [said, setSaid] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    setSaid("Sending …");
    send(events, token).then(
      (accepted) => setSaid(`${plural(accepted, "event")} taken.`),
      (error: unknown) => setSaid(sentence(error)),
    );
  };
  return (
    <form class="send" onSubmit={submit}>
      <h3>Send events</h3>
      <label class="field">
        <span>One JSON object a line</span>
        <textarea rows={3} value={events} onInput={(event) => setEvents(event.currentTarget.value)} required />
      </label>
      <label class="field">
        <span>Token</span>
        <input type="password" autocomplete="off" value={token} onInput={(event) => setToken(event.currentTarget.value)} required />
      </label>
      <div class="actions">
        <button type="submit" class="primary">
          Send
        </button>
        <span class="aside" role="status">
          {said}
        </span>
      </div>
    </form>
  );
}
