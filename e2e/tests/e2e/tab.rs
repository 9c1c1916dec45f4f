//! A tab of a real browser, driven by the Chrome DevTools Protocol: clicks and keys as of a person, answers that are lost or
//! replaced on their way, and everything that the browser complains about.

use command_fds::{CommandFdExt, FdMapping};
use rushgate_testbed::wait::{DEADLINE, until, until_within};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// What happens to the answer of one request.
pub(crate) enum Fault {
    /// The server answers, and the answer is lost.
    Lost,
    /// The browser gets this status with this Retry-After, and the server gets no request.
    Busy(u16, &'static str),
}

struct Rule {
    method: &'static str,
    /// Part of the address.
    path: String,
    fault: Fault,
}

#[derive(Default)]
struct State {
    last_id: u64,
    replies: HashMap<u64, oneshot::Sender<Value>>,
    session: Option<String>,
    /// Origin and name of each JavaScript context.
    contexts: Vec<(String, String)>,
    rules: Vec<Rule>,
    /// Requests whose answer is to be lost.
    losing: Vec<String>,
    requests: Vec<(String, String)>,
    faults: Vec<String>,
}

struct Connection {
    to_browser: Mutex<PipeWriter>,
    state: Mutex<State>,
}

/// A browser with one tab; it ends with this value.
pub(crate) struct Tab {
    connection: Arc<Connection>,
    /// The page that is looked at and clicked on has this origin; it may be in a frame.
    origin: Mutex<String>,
    child: Child,
    _profile: tempfile::TempDir,
}

impl Tab {
    /// Starts a browser with this language.
    pub(crate) async fn start(language: &str) -> Self {
        let program = std::env::var_os("RUSHGATE_BROWSER")
            .expect("RUSHGATE_BROWSER is not set: run `cargo xtask test`");
        let profile = tempfile::tempdir().expect("a temporary directory");
        let (commands, to_browser) = pipe().expect("a pipe");
        let (from_browser, replies) = pipe().expect("a pipe");
        let mut command = Command::new(program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--lang={language}"))
            .arg(format!("--accept-lang={language}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .fd_mappings(vec![
                FdMapping {
                    parent_fd: OwnedFd::from(commands),
                    child_fd: 3,
                },
                FdMapping {
                    parent_fd: OwnedFd::from(replies),
                    child_fd: 4,
                },
            ])
            .expect("two descriptors");
        let child = command.spawn().expect("the browser starts");
        // It has the other ends of the pipes: they close when the browser ends.
        drop(command);
        let connection = Arc::new(Connection {
            to_browser: Mutex::new(to_browser),
            state: Mutex::default(),
        });
        let reader = connection.clone();
        std::thread::spawn(move || reader.read(from_browser));
        let tab = Self {
            connection,
            origin: Mutex::default(),
            child,
            _profile: profile,
        };
        let targets = tab.call("Target.getTargets", json!({})).await;
        let targets = targets["targetInfos"].as_array().expect("targets");
        let target = targets.iter().find(|target| target["type"] == "page");
        let id = &target.expect("a tab")["targetId"];
        let attach = json!({"targetId": id, "flatten": true});
        let attached = tab.call("Target.attachToTarget", attach).await;
        let session = attached["sessionId"].as_str().expect("a session");
        tab.connection.state().session = Some(session.to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab.size(390, 844).await;
        tab.colours("light").await;
        tab
    }

    /// The size of the window, in CSS pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Prefers dark or light colours, and no motion: a colour in the middle of an animation is no finding.
    pub(crate) async fn colours(&self, scheme: &str) {
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Runs in every page before its own scripts.
    pub(crate) async fn prepare(&self, script: &str) {
        let source = json!({"source": script});
        self.call("Page.addScriptToEvaluateOnNewDocument", source)
            .await;
    }

    /// Opens a page, and looks at it.
    pub(crate) async fn open(&self, url: &str) {
        self.look_at(url);
        self.connection.state().contexts.clear();
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// Looks at the page of this origin from now on, such as the one in a frame.
    pub(crate) fn look_at(&self, url: &str) {
        let url = url::Url::parse(url).expect("a URL");
        *self.origin.lock().expect("not poisoned") = url.origin().ascii_serialization();
    }

    pub(crate) async fn reload(&self) {
        self.connection.state().contexts.clear();
        self.call("Page.reload", json!({})).await;
    }

    /// The value of a JavaScript expression in the page; null if it throws, or the page is just being loaded.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        let origin = self.origin.lock().expect("not poisoned").clone();
        let context = {
            let state = self.connection.state();
            let mut contexts = state.contexts.iter().rev();
            contexts
                .find(|(of, _)| *of == origin)
                .map(|(_, id)| id.clone())
        };
        let Some(context) = context else {
            return Value::Null;
        };
        let evaluated = self
            .call(
                "Runtime.evaluate",
                json!({
                    "expression": expression, "uniqueContextId": context, "awaitPromise": true, "returnByValue": true,
                    "userGesture": true,
                }),
            )
            .await;
        match evaluated.get("exceptionDetails") {
            None => evaluated["result"]["value"].clone(),
            Some(_) => Value::Null,
        }
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let holds = until_within(2 * DEADLINE, expression, async || {
            self.evaluate(expression).await == true
        });
        if tokio::time::timeout(DEADLINE, holds).await.is_err() {
            let shown = self.evaluate("document.body.innerText").await;
            panic!("waited in vain until {expression}; the page shows {shown}");
        }
    }

    /// Waits until the page shows this stage.
    pub(crate) async fn until_stage(&self, stage: &str) {
        self.until(&format!(
            "document.querySelector('article[data-stage]')?.dataset.stage === '{stage}'"
        ))
        .await;
    }

    /// Waits until the page has this text.
    pub(crate) async fn until_text(&self, text: &str) {
        let text = json!(text);
        self.until(&format!("document.body.innerText.includes({text})"))
            .await;
    }

    /// Clicks as a person does, this many times, on the button or link with this text.
    pub(crate) async fn click(&self, text: &str, times: u32) {
        let find = format!(
            "(() => {{ const found = [...document.querySelectorAll('button, a')].find((element) => \
             element.textContent.trim() === {} && element.checkVisibility()); if (!found) return null; \
             found.scrollIntoView({{ block: 'center' }}); \
             const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(text)
        );
        let at = until(&format!("there is {text:?} to click on"), async || {
            let at = self.evaluate(&find).await;
            at.is_array().then_some(at)
        })
        .await;
        for count in 1..=times {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": count});
                self.call("Input.dispatchMouseEvent", event).await;
            }
        }
    }

    /// Presses `Tab` or `Enter`.
    pub(crate) async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            _ => (9, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Lets a fault happen to the next request with this method, whose address has this part.
    pub(crate) async fn next(&self, method: &'static str, path: &str, fault: Fault) {
        let path = path.to_owned();
        let rule = Rule {
            method,
            path,
            fault,
        };
        self.connection.state().rules.push(rule);
        let patterns = json!({"patterns": [{"urlPattern": "*/v1/*"}]});
        self.call("Fetch.enable", patterns).await;
    }

    /// How many requests with this method have been sent whose address has this part.
    pub(crate) fn sent(&self, method: &str, path: &str) -> usize {
        let state = self.connection.state();
        let is_meant = |(of, url): &&(String, String)| of == method && url.contains(path);
        state.requests.iter().filter(is_meant).count()
    }

    /// Checks that the browser has complained of nothing: no error in the console, and no violation of a policy. (A status
    /// that says no is none.)
    pub(crate) fn is_content(&self) {
        let state = self.connection.state();
        assert!(state.faults.is_empty(), "{:#?}", state.faults);
    }

    /// Waits until the browser complains of this.
    pub(crate) async fn complains(&self, of: &str) {
        let complaint = format!("the browser complains of {of}");
        until(&complaint, async || {
            let state = self.connection.state();
            state.faults.iter().any(|fault| fault.contains(of))
        })
        .await;
    }

    /// Writes what the tab shows to `target/screenshots/`.
    pub(crate) async fn screenshot(&self, name: &str) {
        let taken = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await;
        let data = taken["data"].as_str().expect("a picture");
        let picture = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/screenshots");
        std::fs::create_dir_all(directory).expect("a directory");
        let path = format!("{directory}/{name}.png");
        std::fs::write(path, picture.expect("base64")).expect("written");
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let (sender, reply) = oneshot::channel();
        self.connection.send(method, parameters, Some(sender));
        let reply = tokio::time::timeout(DEADLINE, reply).await;
        reply
            .expect(method)
            .unwrap_or_else(|_| panic!("{method}: the browser has ended"))
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn send(&self, method: &str, parameters: Value, reply: Option<oneshot::Sender<Value>>) {
        let mut state = self.state();
        state.last_id += 1;
        let mut message = json!({"id": state.last_id, "method": method, "params": parameters});
        if let Some(session) = &state.session {
            message["sessionId"] = json!(session);
        }
        let id = state.last_id;
        if let Some(reply) = reply {
            state.replies.insert(id, reply);
        }
        drop(state);
        let mut message = message.to_string().into_bytes();
        message.push(0);
        // Fails if the browser has ended.
        let _ = self
            .to_browser
            .lock()
            .expect("not poisoned")
            .write_all(&message);
    }

    /// Reads messages until the browser ends.
    fn read(&self, from_browser: PipeReader) {
        let mut from_browser = BufReader::new(from_browser);
        let mut message = vec![];
        while from_browser
            .read_until(0, &mut message)
            .is_ok_and(|length| length > 0)
        {
            message.pop();
            let parsed: Value = serde_json::from_slice(&message).expect("JSON");
            message.clear();
            match parsed["id"].as_u64() {
                Some(id) => {
                    let waiting = self.state().replies.remove(&id);
                    if let Some(waiting) = waiting {
                        // An error is a reply without a result; the caller may be gone.
                        let _ = waiting.send(parsed["result"].clone());
                    }
                }
                None => self.hear(
                    parsed["method"].as_str().unwrap_or_default(),
                    &parsed["params"],
                ),
            }
        }
        self.state().replies.clear();
    }

    fn hear(&self, event: &str, told: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event {
            "Runtime.executionContextCreated" => {
                let context = &told["context"];
                let context = (text(&context["origin"]), text(&context["uniqueId"]));
                self.state().contexts.push(context);
            }
            "Runtime.executionContextDestroyed" => {
                let id = text(&told["executionContextUniqueId"]);
                self.state().contexts.retain(|(_, context)| *context != id);
            }
            "Network.requestWillBeSent" => {
                let request = &told["request"];
                let request = (text(&request["method"]), text(&request["url"]));
                self.state().requests.push(request);
            }
            "Runtime.exceptionThrown" => {
                self.state()
                    .faults
                    .push(told["exceptionDetails"].to_string());
            }
            "Runtime.consoleAPICalled" if told["type"] == "error" => {
                self.state().faults.push(told["args"].to_string());
            }
            // The source "network" tells of every 4xx and 5xx.
            "Log.entryAdded"
                if told["entry"]["level"] == "error" && told["entry"]["source"] != "network" =>
            {
                self.state().faults.push(text(&told["entry"]["text"]));
            }
            "Fetch.requestPaused" => self.intercept(told),
            _ => {}
        }
    }

    fn intercept(&self, paused: &Value) {
        let id = paused["requestId"].as_str().expect("an id").to_owned();
        let mut state = self.state();
        if let Some(place) = state.losing.iter().position(|losing| *losing == id) {
            state.losing.remove(place);
            drop(state);
            let reason = json!({"requestId": id, "errorReason": "ConnectionReset"});
            return self.send("Fetch.failRequest", reason, None);
        }
        let request = &paused["request"];
        let is_meant = |rule: &Rule| {
            let url = request["url"].as_str().expect("a URL");
            request["method"] == rule.method && url.contains(&rule.path)
        };
        let rule = state.rules.iter().position(is_meant);
        let fault = rule.map(|place| state.rules.remove(place).fault);
        match fault {
            None => {
                drop(state);
                self.send("Fetch.continueRequest", json!({"requestId": id}), None);
            }
            Some(Fault::Lost) => {
                state.losing.push(id.clone());
                drop(state);
                let until_answered = json!({"requestId": id, "interceptResponse": true});
                self.send("Fetch.continueRequest", until_answered, None);
            }
            Some(Fault::Busy(status, retry_after)) => {
                drop(state);
                let headers = json!([
                    {"name": "retry-after", "value": retry_after}, {"name": "content-type", "value": "application/problem+json"},
                ]);
                let answer = json!({"requestId": id, "responseCode": status, "responseHeaders": headers, "body": "e30="});
                self.send("Fetch.fulfillRequest", answer, None);
            }
        }
    }
}
