// Command packaging builds the functions for Lambda and packs each into a zip that is the same byte for byte whenever its
// source and toolchain are: deploying an unchanged function replaces nothing.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `Builds functions/* for AWS Lambda (provided.al2023) into dist/<arch>/<name>.zip.

  scripts/build                 for arm64, the default on AWS
  scripts/build --arch host     for this machine, as the local platform needs it
  scripts/build --arch x86_64   for x86-64
  scripts/build NAME...         these functions only

Options:
`

// goarch is Go's name of an architecture by Lambda's.
var goarch = map[string]string{"arm64": "arm64", "x86_64": "amd64"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(log)
	arch := flags.String("arch", "arm64", "`architecture`: arm64, x86_64 or host")
	flags.Usage = func() { fmt.Fprint(log, usage); flags.PrintDefaults() }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *arch == "host" {
		*arch = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	}
	if goarch[*arch] == "" {
		return fmt.Errorf("--arch is one of arm64, x86_64, host (Lambda runs no other; this machine is %s)", runtime.GOARCH)
	}
	names, err := functions(flags.Args())
	if err != nil {
		return err
	}
	begun := time.Now()
	out := filepath.Join("dist", *arch)
	alone, err := lock(log, out)
	if err != nil {
		return err
	}
	defer alone.Close()
	fmt.Fprintf(log, "build: %d functions for %s\n", len(names), *arch)
	if err := compile(ctx, log, goarch[*arch], filepath.Join(out, "bin"), names); err != nil {
		return err
	}
	for i, name := range names {
		state, err := pack(out, name)
		if err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		fmt.Fprintf(log, "build: %d of %d, %s, %s\n", i+1, len(names), name, state)
	}
	fmt.Fprintf(log, "build: %s ready after %.1f s\n", out, time.Since(begun).Seconds())
	return nil
}

// lock waits until no other build writes to out: two at once would rename each other's files. Closing the file ends it, and so
// does the end of the process.
func lock(log io.Writer, out string) (*os.File, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(out, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		fmt.Fprintf(log, "build: another build writes to %s, waiting for it\n", out)
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", out, err)
		}
	}
	return f, nil
}

// functions lists the folders to build: the named ones, or all that have a main.go.
func functions(named []string) ([]string, error) {
	mains, err := filepath.Glob("functions/*/main.go")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, m := range mains {
		all = append(all, filepath.Base(filepath.Dir(m)))
	}
	slices.Sort(all)
	if len(named) == 0 {
		if len(all) == 0 {
			return nil, errors.New("there is no functions/*/main.go here")
		}
		return all, nil
	}
	for _, name := range named {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no functions/%s/main.go; there are %s", name, strings.Join(all, ", "))
		}
	}
	return named, nil
}

// compile builds all functions by one call of go, which shares packages and processors best. Go relinks only what changed,
// because it finds its build id in the binary of last time; -trimpath and no VCS stamp keep the bytes from depending on where
// and on which commit they were built.
func compile(ctx context.Context, log io.Writer, arch, out string, names []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-v", "-o", out + string(filepath.Separator), "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"}
	for _, name := range names {
		args = append(args, "./functions/"+name)
	}
	env := append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-tags", "lambda.norpc"}, args[slices.Index(args, "-s -w")+1:]...)...)
	list.Env = env
	list.Stderr = log // modules that are being downloaded, and what is wrong with the source
	deps, err := list.Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	total := bytes.Count(deps, []byte("\n"))

	build := exec.CommandContext(ctx, "go", args...)
	build.Env = env
	stderr, err := build.StderrPipe()
	if err != nil {
		return err
	}
	if err := build.Start(); err != nil {
		return err
	}
	said := progress(log, stderr, total)
	if err := build.Wait(); err != nil {
		return fmt.Errorf("go build failed:\n%s", strings.Join(said, "\n"))
	}
	return nil
}

// progress reads go's list of the packages that it compiles, says every few seconds how far it is, and gives back the lines
// that are no package: what the compiler complains about.
func progress(log io.Writer, from io.Reader, total int) []string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(from); in.Scan(); {
			lines <- in.Text()
		}
	}()
	begun, tick := time.Now(), time.NewTicker(5*time.Second)
	defer tick.Stop()
	var said []string
	compiled, current := 0, ""
	for {
		select {
		case line, open := <-lines:
			if !open {
				return said
			}
			if line == "" || strings.ContainsAny(line, " \t:") || strings.HasPrefix(line, "#") {
				said = append(said, line)
				continue
			}
			compiled, current = compiled+1, line
		case <-tick.C:
			fmt.Fprintf(log, "build: compiling, %d of at most %d packages, %.0f s, at %s\n", compiled, total, time.Since(begun).Seconds(), current)
		}
	}
}
