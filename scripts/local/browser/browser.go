// Package browser drives a headless Chromium over its debugging pipe: enough of the DevTools protocol to look at a page, type
// and click like a person, and take pictures. (Protocol: https://chromedevtools.github.io/devtools-protocol/)
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ErrNoChromium says that there is none on this machine, and how to get one.
var ErrNoChromium = errors.New("no Chromium on this machine: sudo apt-get install chromium")

// Browser is a running Chromium.
type Browser struct {
	cmd  *exec.Cmd
	in   *os.File
	dir  string
	mu   sync.Mutex
	next int
	// waits has the channel of each call that waits for its answer; events those of each page.
	waits  map[int]chan answer
	events map[string]chan string
	// dialogs counts, by page, how often a script of the page opened one (alert, confirm, prompt).
	dialogs map[string]int
	done    chan struct{}
}

type answer struct {
	Result json.RawMessage
	Error  *struct {
		Message string
		Code    int
	}
}

// Start starts Chromium. Errors: ErrNoChromium.
func Start(ctx context.Context) (*Browser, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, ErrNoChromium
	}
	dir, err := os.MkdirTemp("", "firebreak-browser-")
	if err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + dir, "--no-first-run", "--no-default-browser-check",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
	}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // Chromium's sandbox refuses to run as root
	}
	b := &Browser{cmd: exec.Command(path, append(args, "about:blank")...), in: in, dir: dir, waits: map[int]chan answer{}, events: map[string]chan string{}, dialogs: map[string]int{}, done: make(chan struct{})}
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4: where Chromium reads and writes
	b.cmd.Env = append(os.Environ(), "HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=disabled:")
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(out)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := b.call(ctx, "", "Browser.getVersion", nil, nil); err != nil {
		b.Close()
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	return b, nil
}

// Close ends Chromium and everything it started, and removes its files.
func (b *Browser) Close() error {
	syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	b.cmd.Wait()
	b.in.Close()
	return os.RemoveAll(b.dir)
}

// read hands answers and events to whoever waits for them.
func (b *Browser) read(out io.Reader) {
	defer close(b.done)
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID        int
			Method    string
			SessionID string `json:"sessionId"`
			answer
		}
		if json.Unmarshal(bytes.TrimRight(text, "\x00"), &m) != nil {
			continue
		}
		b.mu.Lock()
		wait, events := b.waits[m.ID], b.events[m.SessionID]
		if m.Method == "Page.javascriptDialogOpening" {
			b.dialogs[m.SessionID]++
		}
		if m.ID > 0 {
			delete(b.waits, m.ID)
		}
		b.mu.Unlock()
		if m.ID > 0 && wait != nil {
			wait <- m.answer
		} else if events != nil {
			select {
			case events <- m.Method:
			default: // nobody looks
			}
		}
	}
}

func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	wait := make(chan answer, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waits[id] = wait
	m := map[string]any{"id": id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if session != "" {
		m["sessionId"] = session
	}
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case a := <-wait:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-b.done:
		return fmt.Errorf("%s: Chromium has ended", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Page is a tab.
type Page struct {
	b       *Browser
	session string
	events  chan string
}

// Open opens an address in a new tab of that width and height, and waits until it is loaded.
func (b *Browser) Open(ctx context.Context, address string, width, height int) (*Page, error) {
	p, err := b.Tab(ctx, width, height)
	if err != nil {
		return nil, err
	}
	return p, p.Go(ctx, address)
}

// Tab opens an empty tab of that width and height.
func (b *Browser) Tab(ctx context.Context, width, height int) (*Page, error) {
	var target struct{ TargetID string }
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct{ SessionID string }
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p := &Page{b: b, session: attached.SessionID, events: make(chan string, 1000)}
	b.mu.Lock()
	b.events[p.session] = p.events
	b.mu.Unlock()
	for method, params := range map[string]any{
		"Page.enable":                        nil,
		"Emulation.setDeviceMetricsOverride": map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
		"Emulation.setFocusEmulationEnabled": map[string]any{"enabled": true},
		"Network.enable":                     nil,
	} {
		if err := p.call(ctx, method, params, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Prefer makes the reader of this tab like dark pages, and a language, as in ja-JP.
func (p *Page) Prefer(ctx context.Context, dark bool, language string) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	err := p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	if err == nil {
		err = p.call(ctx, "Network.setExtraHTTPHeaders", map[string]any{"headers": map[string]string{"Accept-Language": language}}, nil)
	}
	return err
}

// Pretend makes this tab say that it is another program, and run scripts in pages that forbid them, from the next page on.
func (p *Page) Pretend(ctx context.Context, agent string) error {
	if err := p.call(ctx, "Network.setUserAgentOverride", map[string]any{"userAgent": agent}, nil); err != nil {
		return err
	}
	return p.call(ctx, "Page.setBypassCSP", map[string]any{"enabled": true}, nil)
}

// Dialogs counts the dialogs that scripts of this tab's pages have opened.
func (p *Page) Dialogs() int {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return p.b.dialogs[p.session]
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error { return p.call(ctx, "Page.close", nil, nil) }

// Go goes to an address and waits until it is loaded.
func (p *Page) Go(ctx context.Context, address string) error {
	return p.loaded(ctx, func() error {
		var nav struct{ ErrorText string }
		if err := p.call(ctx, "Page.navigate", map[string]any{"url": address}, &nav); err != nil {
			return err
		}
		if nav.ErrorText != "" {
			return fmt.Errorf("open %s: %s", address, nav.ErrorText)
		}
		return nil
	})
}

func (p *Page) call(ctx context.Context, method string, params, result any) error {
	return p.b.call(ctx, p.session, method, params, result)
}

// loaded does something and waits until the page that it leads to is loaded.
func (p *Page) loaded(ctx context.Context, do func() error) error {
	for len(p.events) > 0 {
		<-p.events
	}
	if err := do(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		select {
		case e := <-p.events:
			if e == "Page.loadEventFired" {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the page did not load: %w", ctx.Err())
		case <-p.b.done:
			return errors.New("the browser has ended")
		}
	}
}

// Eval evaluates JavaScript in the page and decodes its value into result, which may be nil.
func (p *Page) Eval(ctx context.Context, script string, result any) error {
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &out); err != nil {
		return err
	}
	if out.ExceptionDetails != nil {
		return fmt.Errorf("in the page: %s %s", out.ExceptionDetails.Text, out.ExceptionDetails.Exception.Description)
	}
	if result == nil || len(out.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(out.Result.Value, result)
}

// Text is what a person reads on the page.
func (p *Page) Text(ctx context.Context) (string, error) {
	var text string
	err := p.Eval(ctx, "document.body.innerText", &text)
	return text, err
}

// Source is the page's HTML as it stands now.
func (p *Page) Source(ctx context.Context) (string, error) {
	var text string
	err := p.Eval(ctx, "document.documentElement.outerHTML", &text)
	return text, err
}

// Type clicks into the field of that selector and types.
func (p *Page) Type(ctx context.Context, selector, text string) error {
	if err := p.Click(ctx, selector); err != nil {
		return err
	}
	return p.call(ctx, "Input.insertText", map[string]any{"text": text}, nil)
}

// Click scrolls to the element and presses the left button in its middle. Errors: it is not there, not visible, or covered.
func (p *Page) Click(ctx context.Context, selector string) error {
	var at *struct{ X, Y float64 }
	script := fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		if (!e) return null;
		e.scrollIntoView({block: "center"});
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2, hit = document.elementFromPoint(x, y);
		return hit && (e === hit || e.contains(hit) || hit.contains(e)) ? {X: x, Y: y} : null;
	})()`, selector)
	if err := p.Eval(ctx, script, &at); err != nil {
		return err
	}
	if at == nil {
		return fmt.Errorf("nothing to click at %s", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		if err := p.call(ctx, "Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Key presses a key and lets it go: Tab, Enter or Space.
func (p *Page) Key(ctx context.Context, key string) error {
	code, text := map[string]int{"Tab": 9, "Enter": 13, "Space": 32}[key], map[string]string{"Enter": "\r", "Space": " "}[key]
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if key == "Space" {
			params["key"] = " "
		}
		if kind == "keyDown" && text != "" {
			params["text"] = text
		}
		if err := p.call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

// Enter presses the key and waits for the page it leads to.
func (p *Page) Enter(ctx context.Context) error {
	return p.loaded(ctx, func() error { return p.Key(ctx, "Enter") })
}

// Press clicks the element and waits for the page it leads to.
func (p *Page) Press(ctx context.Context, selector string) error {
	return p.loaded(ctx, func() error { return p.Click(ctx, selector) })
}

// Screenshot writes a picture of the whole page as PNG.
func (p *Page) Screenshot(ctx context.Context, file string) error {
	var shot struct{ Data string }
	if err := p.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot); err != nil {
		return err
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o644)
}
