package playbook

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of this package: read every changed line before you keep it")

// corpus skips the test where the findings of public projects do not lie beside the repository: they are not part of it.
func corpus(t testing.TB) {
	t.Helper()
	if dir, _, ok := corpusOf(t); !ok {
		t.Skipf("the corpus of public findings is not at %s: set FIREBREAK_CORPUS", dir)
	}
}

// corpusFiles are the JSON files of the corpus, in order.
func corpusFiles(t testing.TB) (dir string, names []string) {
	t.Helper()
	corpus(t)
	dir, names, ok := corpusOf(t)
	if !ok {
		t.Fatalf("there are no files in the corpus %s", dir)
	}
	return dir, names
}

// corpusOf is the same for those who can do without.
func corpusOf(t testing.TB) (dir string, names []string, ok bool) {
	if dir = os.Getenv("FIREBREAK_CORPUS"); dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(filepath.Ext(path), ".json") {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	slices.Sort(names)
	return dir, names, len(names) > 0
}

func read(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Every record of the corpus has its decision in the golden file, each read and judged by a person. It holds what was decided, and
// none of the records' texts.
func TestEveryRecordOfTheCorpusIsDecidedAsReviewed(t *testing.T) {
	dir, names := corpusFiles(t)
	b := book(t)
	var out strings.Builder
	out.WriteString("file\trecord\tfinding\tdisposition\tproduct\ttype\tseverity\taccount\tregion\tincident\trule\tsteps\treason\n")
	for _, name := range names {
		_, err := b.Stream(name, read(t, filepath.Join(dir, name)), 0, 25, func(l Line) error {
			var steps []string
			for _, d := range l.Contain {
				steps = append(steps, d.Action+" "+d.Target)
			}
			for _, d := range l.Eradicate {
				steps = append(steps, "after approval "+d.Action+" "+d.Target)
			}
			fmt.Fprintf(&out, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, l.Record, l.Finding, l.Disposition, l.Product, l.Type, l.Severity,
				l.Account, l.Region, l.IncidentID, ruleName(b, string(l.Rule)), strings.Join(steps, ", "), l.Reason)
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	golden(t, "corpus.tsv", out.String())
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("testdata/%s (-want +got):\n%s", name, diff)
	}
}
