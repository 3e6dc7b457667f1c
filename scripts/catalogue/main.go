// Command catalogue writes the table of the actions, for the README: from the packages' comments, from action.yaml and from
// the templates, so that it says what is deployed.
//
//	go run ./scripts/catalogue [-into FILE]
//
// It writes to standard output, or with -into between <!-- actions --> and <!-- /actions --> of the file.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	into := flag.String("into", "", "file whose block between <!-- actions --> and <!-- /actions --> is replaced")
	flag.Parse()
	if err := run(".", *into); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

func run(root, into string) error {
	table, err := Table(root)
	if err != nil {
		return err
	}
	if into == "" {
		_, err = fmt.Print(table)
		return err
	}
	text, err := os.ReadFile(into)
	if err != nil {
		return err
	}
	before, _, after, err := Block(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", into, err)
	}
	return os.WriteFile(into, []byte(before+"\n"+table+after), 0o644)
}

const begin, end = "<!-- actions -->", "<!-- /actions -->"

// Block splits a text at its markers: what is before the block (with the first marker), the block itself, what is after it.
// Errors: a marker is missing.
func Block(text string) (before, block, after string, err error) {
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		return "", "", "", fmt.Errorf("no block between %s and %s", begin, end)
	}
	i += len(begin)
	return text[:i], strings.TrimPrefix(text[i:j], "\n"), text[j:], nil
}
