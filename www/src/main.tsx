import { render } from "preact";
import { App } from "./app";
import { keepForOffline } from "./offline";
import "./styles/fonts.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/views.css";
import { applyTheme } from "./theme";

applyTheme();
const root = document.getElementById("app");
if (root === null) throw new Error("the page has no place for the application");
render(<App />, root);
keepForOffline();
