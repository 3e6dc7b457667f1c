package statemachines

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/asl"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// interpreter is moto's interpreter of the states language (scripts/local/paths.py), with its tasks answered by the runs here.
type interpreter struct {
	api     *sfn.Client
	account string
	tasks   *httptest.Server

	mu   sync.Mutex
	runs map[string]*run // by name of the execution
}

// startInterpreter starts it for one test and ends it with the test.
func startInterpreter(t *testing.T) *interpreter {
	t.Helper()
	i := &interpreter{runs: map[string]*run{}}
	i.tasks = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.tasks.Close)
	port := i.tasks.Listener.Addr().(*net.TCPAddr).Port

	cmd := pathsCommand(t, "--tasks", fmt.Sprint(port))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe() // it ends when this closes, also when this process dies
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })

	var at struct{ Endpoint, Account, Region string }
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil {
		t.Fatalf("scripts/local/paths did not start: %v\n%s", err, complaints.String())
	}
	i.account = at.Account
	i.api = sfn.New(sfn.Options{
		Region: at.Region, BaseEndpoint: &at.Endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	return i
}

// pathsCommand runs scripts/local/paths in the environment that FIREBREAK_VENV names, or else in the project's own.
func pathsCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("the interpreter is left out of -short; scripts/test paths runs it")
	}
	if venv := os.Getenv("FIREBREAK_VENV"); venv != "" {
		cmd := exec.Command(filepath.Join(venv, "bin", "python"), append([]string{"../scripts/local/paths.py"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + venv, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
		return cmd
	}
	if _, err := os.Stat("../.cache/venv/stamp"); err != nil {
		t.Skip("moto's interpreter is not installed: run scripts/local/setup")
	}
	return exec.Command("../scripts/local/paths", args...)
}

// machine creates a machine from a definition's text and gives its ARN.
func (i *interpreter) machine(t *testing.T, name string, definition []byte) string {
	t.Helper()
	values := map[string]string{"Partition": "aws"}
	for _, p := range asl.Placeholders(definition) {
		switch {
		case strings.HasSuffix(p, "Function"):
			values[p] = "arn:aws:lambda:us-east-1:" + i.account + ":function:" + p
		case strings.HasSuffix(p, "DeadLetters"):
			values[p] = "https://sqs.us-east-1.amazonaws.com/" + i.account + "/" + p
		}
	}
	text, err := asl.Substitute(definition, values)
	must(t, err)
	out, err := i.api.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{
		Name: &name, Definition: aws.String(string(text)), RoleArn: aws.String("arn:aws:iam::" + i.account + ":role/machine"),
	})
	must(t, err)
	return *out.StateMachineArn
}

// answer is how a function or a queue answers one call.
type answer struct {
	status  int
	headers map[string]string
	body    []byte
	// verdict is sent with SendTaskSuccess, for a task that waits for its token.
	verdict []byte
}

// gives answers with a golden file: "isolate-instance/applied" is functions/isolate-instance/testdata/applied.json.
func gives(golden string) answer { return answer{status: 200, body: read(golden)} }

// says answers with a value.
func says(v any) answer { return answer{status: 200, body: encode(v)} }

// decides takes a request for approval, and sends the verdict of a golden file.
func decides(golden string) answer {
	return answer{status: 200, body: []byte(`{}`), verdict: read("request-approval/" + golden)}
}

// decidesAs takes a request for approval, and sends any verdict.
func decidesAs(v any) answer { return answer{status: 200, body: []byte(`{}`), verdict: encode(v)} }

// silence takes a request for approval, and nobody ever decides.
func silence() answer { return answer{status: 200, body: []byte(`{}`)} }

// fails answers as a function that ends with a named error.
func fails(name, message string) answer {
	return answer{status: 200, headers: map[string]string{"X-Amz-Function-Error": "Unhandled"},
		body: encode(map[string]string{"errorType": name, "errorMessage": message})}
}

// failsAs is fails with a golden file.
func failsAs(golden string) answer {
	a := gives(golden)
	a.headers = map[string]string{"X-Amz-Function-Error": "Unhandled"}
	return a
}

// throttled answers as Lambda does when too many functions run.
func throttled() answer {
	return answer{status: 429, headers: map[string]string{"x-amzn-ErrorType": "TooManyRequestsException"}, body: []byte(`{"message": "Rate exceeded"}`)}
}

// down answers as a queue that is not there.
func down() answer {
	return answer{status: 400, headers: map[string]string{"x-amzn-ErrorType": "QueueDoesNotExist"},
		body: []byte(`{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "The specified queue does not exist."}`)}
}

// call is one request that a task made.
type call struct {
	state   string
	payload []byte
}

// run is one execution: how its tasks are answered, and what it did.
type run struct {
	// answers are per state, in order; the last one stays. A state that is not named succeeds with its golden file.
	answers map[string][]answer

	mu    sync.Mutex
	calls []call
	token string
	errs  []string

	status  types.ExecutionStatus
	error   string
	cause   string
	output  []byte
	path    []string
	retries int
	history []byte
}

// execute runs a machine to its end.
func (i *interpreter) execute(t *testing.T, machine, name string, input any, r *run) {
	t.Helper()
	i.mu.Lock()
	i.runs[name] = r
	i.mu.Unlock()
	started, err := i.api.StartExecution(t.Context(), &sfn.StartExecutionInput{
		StateMachineArn: &machine, Name: &name, Input: aws.String(string(encode(input))),
	})
	must(t, err)
	var d *sfn.DescribeExecutionOutput
	for deadline := time.Now().Add(40 * time.Second); ; {
		d, err = i.api.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: started.ExecutionArn})
		must(t, err)
		if d.Status != types.ExecutionStatusRunning {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still runs", name)
		}
		time.Sleep(20 * time.Millisecond) // the interpreter can only be asked
	}
	r.status, r.error, r.cause, r.output = d.Status, aws.ToString(d.Error), aws.ToString(d.Cause), []byte(aws.ToString(d.Output))
	h, err := i.api.GetExecutionHistory(t.Context(), &sfn.GetExecutionHistoryInput{ExecutionArn: started.ExecutionArn, MaxResults: 1000})
	must(t, err)
	r.path, r.retries = follow(h.Events)
	r.history = encode(h.Events)
	for _, e := range r.errs {
		t.Error(e)
	}
}

// follow gives the names of the states that were entered, a Map's items one after the other however they ran, and how many
// requests were repeated. Each is a transition that AWS bills.
func follow(events []types.HistoryEvent) (path []string, retries int) {
	iteration := map[int64]int32{} // event id to the Map item that it belongs to
	var items [][]string
	flush := func() {
		for _, item := range items {
			path = append(path, item...)
		}
		items = nil
	}
	for _, e := range events {
		item, inside := iteration[e.PreviousEventId]
		switch e.Type {
		case types.HistoryEventTypeMapIterationStarted:
			item, inside = e.MapIterationStartedEventDetails.Index, true
		case types.HistoryEventTypeMapIterationSucceeded, types.HistoryEventTypeMapIterationFailed, types.HistoryEventTypeMapStateSucceeded:
			inside = false
		case types.HistoryEventTypeTaskScheduled:
			retries++
		case types.HistoryEventTypeTaskStateEntered:
			retries--
		}
		if inside {
			iteration[e.Id] = item
		}
		if e.StateEnteredEventDetails == nil {
			continue
		}
		name := *e.StateEnteredEventDetails.Name
		if !inside {
			flush()
			path = append(path, name)
			continue
		}
		for len(items) <= int(item) {
			items = append(items, nil)
		}
		items[item] = append(items[item], name)
	}
	flush()
	return path, retries
}

// serve answers the tasks of all runs.
func (i *interpreter) serve(w http.ResponseWriter, q *http.Request) {
	state, execution := q.Header.Get("X-State"), q.Header.Get("X-Execution")
	i.mu.Lock()
	r := i.runs[execution[strings.LastIndex(execution, ":")+1:]]
	i.mu.Unlock()
	body, err := io.ReadAll(q.Body)
	if err != nil || r == nil {
		http.Error(w, "no such run", http.StatusInternalServerError)
		return
	}
	a := r.answer(state, q, body)
	if a.verdict != nil {
		var request incident.ApprovalRequest
		_ = json.Unmarshal(body, &request)
		go i.send(request.Token, a.verdict)
	}
	for k, v := range a.headers {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func (i *interpreter) send(token string, verdict []byte) {
	_, _ = i.api.SendTaskSuccess(context.Background(), &sfn.SendTaskSuccessInput{TaskToken: &token, Output: aws.String(string(verdict))})
}

// answer records a call, holds its payload against the type that the function takes, and says how it is answered.
func (r *run) answer(state string, q *http.Request, body []byte) answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	payload := body
	if q.Header.Get("X-Amz-Target") == "AmazonSQS.SendMessage" {
		var message struct{ MessageBody string }
		_ = json.Unmarshal(body, &message)
		payload = []byte(message.MessageBody)
	}
	n := 0
	for _, c := range r.calls {
		if c.state == state {
			n++
		}
	}
	r.calls = append(r.calls, call{state, payload})
	if err := r.takes(state, payload); err != nil {
		r.errs = append(r.errs, fmt.Sprintf("%s sends what its function does not take: %v\n%s", state, err, payload))
	}
	if as := r.answers[state]; len(as) > 0 {
		a := as[min(n, len(as)-1)]
		if a.body != nil {
			return a
		}
	}
	switch folder := asl.Folder(state); {
	case strings.HasPrefix(state, "DeadLetter"):
		sum := md5.Sum(payload)
		return says(map[string]string{"MessageId": "1", "MD5OfMessageBody": hex.EncodeToString(sum[:])})
	case state == "PlanRelease":
		return gives("plan-release/release")
	case state == "CloseRelease":
		return gives("close-release/released")
	case closing(payload):
		var request incident.CloseRequest
		_ = json.Unmarshal(payload, &request)
		return gives("close-incident/" + asl.Folder(strings.TrimPrefix(string(request.Ending), "Approval")))
	default:
		var request incident.Request
		_ = json.Unmarshal(payload, &request)
		return gives(folder + "/" + map[bool]string{true: "restored", false: "applied"}[request.Mode.Undoes()])
	}
}

// closing tells whether a payload is for close-incident: nothing else claims an ending.
func closing(payload []byte) bool {
	var in map[string]json.RawMessage
	return json.Unmarshal(payload, &in) == nil && in["ending"] != nil
}

// takes decodes a payload strictly into the type that the function takes, and looks for what must not be missing.
func (r *run) takes(state string, payload []byte) error {
	switch {
	case state == "ClassifyFinding":
		var in struct {
			Event     json.RawMessage    `json:"event"`
			Execution incident.Execution `json:"execution"`
			State     incident.State     `json:"state"`
		}
		return first(strict(payload, &in), named(in.State, state, in.Execution))
	case state == "RequestApproval":
		var in incident.ApprovalRequest
		err := strict(payload, &in)
		r.token = in.Token
		if in.Token == "" || in.Round == 0 || len(in.Steps) == 0 {
			err = first(err, fmt.Errorf("token, round or steps are missing"))
		}
		return first(err, named(in.State, state, in.Execution))
	case state == "PlanRelease":
		var in struct {
			Release   incident.Release   `json:"release"`
			Execution incident.Execution `json:"execution"`
			State     incident.State     `json:"state"`
		}
		return first(strict(payload, &in), named(in.State, state, in.Execution))
	case state == "CloseRelease":
		var in incident.ReleaseCloseRequest
		err := strict(payload, &in)
		if in.Results == nil || in.Release.Steps == nil || in.Release.Incident.ID == "" {
			err = first(err, fmt.Errorf("results, the release or its incident are missing"))
		}
		return first(err, named(in.State, state, in.Execution))
	case closing(payload):
		var in incident.CloseRequest
		err := strict(payload, &in)
		if in.Contain == nil || in.Eradicate == nil || in.Incident.ID == "" {
			err = first(err, fmt.Errorf("contain, eradicate or the incident are missing"))
		}
		return first(err, named(in.State, state, in.Execution))
	case strings.HasPrefix(state, "DeadLetter"):
		var in incident.DeadLetter
		err := strict(payload, &in)
		if in.Layer == "" || in.Execution == "" || in.Error == "" || in.Cause == "" || in.Layer != "release" && (in.Layer == "action") != (in.Step != nil) {
			err = first(err, fmt.Errorf("layer, execution, error, cause or step are missing"))
		}
		return err
	default:
		var in incident.Request
		err := strict(payload, &in)
		if in.Mode != incident.Apply && !in.Mode.Undoes() || in.Mode.Undoes() != (in.Why != "") || in.Incident.ID == "" || asl.Folder(state) != in.Step.Action {
			err = first(err, fmt.Errorf("mode, incident, step or who asked are not as they should be"))
		}
		return first(err, named(in.State, state, in.Execution))
	}
}

func named(s incident.State, name string, e incident.Execution) error {
	if s.Name != name || e.ARN == "" || e.Start.IsZero() {
		return fmt.Errorf("execution %+v or state %+v are not as they should be", e, s)
	}
	return nil
}

func first(errs ...error) error {
	i := slices.IndexFunc(errs, func(e error) bool { return e != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// payloads decodes what a state's calls sent.
func payloads[T any](t *testing.T, r *run, state string) []T {
	t.Helper()
	var out []T
	for _, c := range r.calls {
		if c.state == state {
			var v T
			must(t, json.Unmarshal(c.payload, &v))
			out = append(out, v)
		}
	}
	return out
}

func read(golden string) []byte {
	folder, name, _ := strings.Cut(golden, "/")
	text, err := os.ReadFile(filepath.Join("../functions", folder, "testdata", name+".json"))
	if err != nil {
		panic(err)
	}
	return text
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func strict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
