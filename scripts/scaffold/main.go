// Command scaffold writes the frame of a new action, one that contains or one that destroys after approval: its folder, its state
// in both machines, its blocks in the templates, its row in the README. No Go file that is there already is changed. What is there
// already stays as it is, so that a second run only adds what is missing.
package main

import (
	"bytes"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"firebreak/lib/account"
)

const usage = `Writes the frame of a new action.

  scripts/new-action NAME --target KIND --role Network|Identity|Data [--no-undo REASON]
  scripts/new-action NAME --target KIND --destroys --no-undo REASON
  scripts/new-action --check [NAME]

NAME is verb-noun (encrypt-bucket). It writes functions/NAME with a test and golden results, its state in both machines, its
blocks in the templates, its row in the README, and then says what is left to write by hand. The frame compiles and passes its
tests, and does nothing on AWS. What is there already is not touched.

Options:
`

func main() {
	if err := run(".", os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "new-action:", err)
		os.Exit(1)
	}
}

// frame is what the templates are filled with.
type frame struct {
	Name, Stem, Target, Role, NoUndo string
	// Destroys says that it runs after approval only.
	Destroys bool
	// Example is an ARN of that kind of target.
	Example string
}

var verbNoun = regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)

func run(root string, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("new-action", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() { fmt.Fprint(log, usage); flags.PrintDefaults() }
	target := flags.String("target", "", "`kind` of resource that it takes, in the playbook's words: instance, role, user, bucket, …")
	role := flags.String("role", "", "remediation `role` that it changes with: Network, Identity or Data")
	noUndo := flags.String("no-undo", "", "why it has no undo (`reason`); left out where it has one")
	destroys := flags.Bool("destroys", false, "it destroys, after approval, with the role Destroy")
	check := flags.Bool("check", false, "only say what is missing, of NAME or of every action")
	var names []string
	for rest := args; ; rest = flags.Args()[1:] {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		names = append(names, flags.Arg(0))
	}
	if *check {
		return report(root, names, out)
	}
	if len(names) != 1 || !verbNoun.MatchString(names[0]) {
		return fmt.Errorf("one NAME is needed, verb-noun in small letters, not %q; see --help", names)
	}
	switch changing := []account.Role{account.Network, account.Identity, account.Data}; {
	case *destroys && (*role != "" || *noUndo == "" || *target == ""):
		return errors.New("with --destroys, --target KIND and --no-undo REASON are needed; the role is Destroy")
	case *destroys:
		*role = string(account.Destroy)
	case !slices.Contains(changing, account.Role(*role)) || *target == "":
		return errors.New("--target KIND and --role Network, Identity or Data are needed; --destroys for what destroys")
	}
	f := frame{Name: names[0], Stem: stem(names[0]), Target: *target, Role: *role, NoUndo: *noUndo, Destroys: *destroys, Example: example(*target)}
	written, err := f.write(root)
	for _, w := range written {
		fmt.Fprintln(out, "wrote", w)
	}
	if err != nil {
		return err
	}
	for _, generator := range []string{"./scripts/catalogue", "./scripts/picture"} {
		cmd := exec.Command("go", "run", generator, "-into", "README.md")
		cmd.Dir, cmd.Stderr = root, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", generator, err)
		}
	}
	fmt.Fprintf(out, "\nWhat is left to do for %s:\n", f.Name)
	return report(root, names, out)
}

// report prints what is missing of the named actions, or of all.
func report(root string, names []string, out io.Writer) error {
	known, err := Actions(root)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = known
	}
	n := 0
	for _, name := range names {
		for _, m := range Missing(root, name) {
			fmt.Fprintf(out, "%s: %s\n", name, m)
			n++
		}
	}
	if n == 0 {
		fmt.Fprintln(out, "nothing")
	}
	return nil
}

//go:embed frame
var frames embed.FS

// write writes whatever is not there yet, and says what it has written.
func (f frame) write(root string) ([]string, error) {
	var written []string
	folder := filepath.Join("functions", f.Name)
	_, err := os.Stat(filepath.Join(root, folder, "main.go"))
	byHand := err == nil // a frame's tests and golden results are of no use to code that somebody has written
	for file, from := range f.files() {
		path := filepath.Join(folder, file)
		if _, err := os.Stat(filepath.Join(root, path)); err == nil || byHand && file != "action.yaml" {
			continue
		}
		text, err := f.fill(from)
		if err != nil {
			return written, err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			return written, err
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			return written, err
		}
		written = append(written, path)
	}
	slices.Sort(written)
	block, err := f.fill("function.yaml")
	if err != nil {
		return written, err
	}
	for _, e := range []struct {
		file string
		edit func(string) (string, error)
	}{
		{"statemachines/respond.asl.json", func(s string) (string, error) {
			if f.Destroys {
				return addState(s, "WhichEradication?", "UnknownEradication", f.Name)
			}
			return addState(s, "WhichAction?", "Notify", f.Name)
		}},
		{"statemachines/release.asl.json", func(s string) (string, error) {
			if f.NoUndo != "" {
				return s, nil
			}
			return addState(s, "WhichAction?", "UnknownAction", f.Name)
		}},
		{"cloudformation/functions.yaml", func(s string) (string, error) {
			s, err := addFunction(s, block, f.Name)
			if err != nil {
				return s, err
			}
			if !f.Destroys {
				// The watch asks whether it is still contained.
				return addInvocation(s, "WatchContainment", f.Name)
			}
			// Who asks people, and who looks whether the evidence is complete, asks the function what it would destroy.
			if s, err = addInvocation(s, "RequestApproval", f.Name); err != nil {
				return s, err
			}
			return addInvocation(s, "Sweep", f.Name)
		}},
		{"cloudformation/statemachines.yaml", func(s string) (string, error) {
			s, err := addToMachine(s, "Respond", f.Name)
			if err != nil || f.NoUndo != "" {
				return s, err
			}
			return addToMachine(s, "Release", f.Name)
		}},
		{"cloudformation/member.yaml", func(s string) (string, error) {
			s, err := addTrust(s, "Read", f.Name)
			if err != nil {
				return s, err
			}
			return addTrust(s, f.Role, f.Name)
		}},
	} {
		path := filepath.Join(root, e.file)
		before, err := os.ReadFile(path)
		if err != nil {
			return written, err
		}
		after, err := e.edit(string(before))
		if err != nil {
			return written, fmt.Errorf("%s: %w", e.file, err)
		}
		if after == string(before) {
			continue
		}
		if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
			return written, err
		}
		written = append(written, e.file)
	}
	return written, nil
}

// files are the folder's files and the frames that they are made of.
func (f frame) files() map[string]string {
	out := map[string]string{"action.yaml": "action.yaml", "main.go": "main.go.tmpl", "main_test.go": "main_test.go.tmpl"}
	if f.Destroys {
		for _, g := range []string{"applied", "changed", "gone", "planned"} {
			out["testdata/"+g+".json"] = "destroyed-" + g + ".json"
		}
		out["main.go"], out["main_test.go"] = "destroying.go.tmpl", "destroying_test.go.tmpl"
		return out
	}
	goldens := []string{"applied", "already", "planned", "refused", "restored"}
	if f.NoUndo != "" {
		goldens[4] = "not-undone"
	}
	for _, g := range goldens {
		out["testdata/"+g+".json"] = g + ".json"
	}
	return out
}

// fill fills one frame. Frames are delimited by << and >>, because CloudFormation and Go have braces of their own.
func (f frame) fill(name string) (string, error) {
	t, err := template.New(name).Delims("<<", ">>").ParseFS(frames, "frame/"+name)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.ExecuteTemplate(&b, name, f)
	return b.String(), err
}

// stem spells a folder's name as templates and machines do: deactivate-keys, DeactivateKeys.
func stem(folder string) string {
	var out string
	for _, p := range strings.Split(folder, "-") {
		out += strings.ToUpper(p[:1]) + p[1:]
	}
	return out
}

// example is an ARN of a kind of target.
func example(kind string) string {
	examples := map[string]string{
		"instance": "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", "group": "arn:aws:ec2:us-east-1:222222222222:security-group/sg-0abcdef1234567890",
		"role": "arn:aws:iam::222222222222:role/clinic-web", "user": "arn:aws:iam::222222222222:user/billing/export",
		"trail": "arn:aws:cloudtrail:us-east-1:222222222222:trail/clinic", "queue": "arn:aws:sqs:us-east-1:222222222222:clinic-orders", "topic": "arn:aws:sns:us-east-1:222222222222:clinic-orders",
	}
	if e := examples[kind]; e != "" {
		return e
	}
	return "arn:aws:s3:::clinic-exports"
}
