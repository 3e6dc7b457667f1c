package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	typed  = regexp.MustCompile("scripts/deploy((?: +[^`#)\n]*)?)")
	option = regexp.MustCompile(`^--([a-z][a-z-]*)`)
)

// What the README tells a stranger to type is what the program takes: each command and each option of it.
func TestTheGuideCanBeFollowed(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	helps, followed := map[string]string{}, 0
	for _, m := range typed.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
		words := strings.Fields(m[1])
		command := "hub"
		if len(words) > 0 && slices.Contains(strings.Split(names(), ", "), words[0]) {
			command = words[0]
		}
		if helps[command] == "" {
			var said bytes.Buffer
			args := []string{command, "--help"}
			if command == "uninstall" {
				args = []string{command, "hub", "--help"}
			}
			if err := run(t.Context(), "", args, io.Discard, &said); !errors.Is(err, flag.ErrHelp) {
				t.Fatalf("%s --help: %v", command, err)
			}
			helps[command] = said.String()
		}
		for _, w := range words {
			name := option.FindStringSubmatch(w)
			if name == nil || name[1] == "help" {
				continue
			}
			if followed++; !regexp.MustCompile(`(?m)^  -` + name[1] + `( |$)`).MatchString(helps[command]) {
				t.Errorf("the README says scripts/deploy%s: %s has no option --%s", m[1], command, name[1])
			}
		}
	}
	if followed < 30 {
		t.Errorf("only %d options of the README were looked at", followed)
	}
}

// Every command that --help lists is there, and every one that is there is listed.
func TestHelpListsTheCommands(t *testing.T) {
	for _, c := range commands {
		if !strings.Contains(usage, "scripts/deploy "+c.name+" ") && c.name != "hub" {
			t.Errorf("scripts/deploy --help does not list %s", c.name)
		}
	}
}
