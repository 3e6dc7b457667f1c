package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestZipsAreTheSameByteForByte(t *testing.T) {
	out := t.TempDir()
	bin := filepath.Join(out, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	build := func(content string) (state string, zipped []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, "notify"), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		state, err := pack(out, "notify")
		if err != nil {
			t.Fatal(err)
		}
		zipped, err = os.ReadFile(filepath.Join(out, "notify.zip"))
		if err != nil {
			t.Fatal(err)
		}
		return state, zipped
	}
	_, first := build("one")
	if state, again := build("one"); state != "unchanged" || !bytes.Equal(first, again) {
		t.Errorf("built again it is %s", state)
	}
	if state, other := build("two"); state == "unchanged" || bytes.Equal(first, other) {
		t.Errorf("another binary is %s", state)
	}
	if _, back := build("one"); !bytes.Equal(first, back) {
		t.Error("the same binary makes another zip than before")
	}
}

func TestZipHasOneExecutable(t *testing.T) {
	var buf bytes.Buffer
	if err := archive(&buf, []byte("binary"), "hash"); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 1 || r.File[0].Name != "bootstrap" || r.File[0].Mode() != 0o755 || !r.File[0].Modified.Equal(epoch) {
		t.Fatalf("the zip has %+v", r.File)
	}
	f, err := r.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(f); err != nil || string(content) != "binary" {
		t.Errorf("bootstrap is %q, %v", content, err)
	}
}

func TestWhatIsNoPackageIsTold(t *testing.T) {
	said := progress(io.Discard, strings.NewReader("firebreak/lib/fault\n# firebreak/functions/notify\nfunctions/notify/main.go:7:2: undefined: x\n"), 2)
	if want := []string{"# firebreak/functions/notify", "functions/notify/main.go:7:2: undefined: x"}; !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
}

func TestUnknownArchitectureIsRefused(t *testing.T) {
	err := run(t.Context(), []string{"--arch", "mips"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "arm64, x86_64, host") {
		t.Errorf("error %v", err)
	}
}
