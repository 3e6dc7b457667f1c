package playbook

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/lib/findingtest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of this package: read every changed line before you keep it")

// Every record of the corpus has its decision in the golden file, each read and judged by a person. It holds what was decided, and
// none of the records' texts.
func TestEveryRecordOfTheCorpusIsDecidedAsReviewed(t *testing.T) {
	records, corpus := findingtest.Records(t, "../..")
	if !corpus {
		t.Skip("the corpus of public findings is not beside the repository: set FIREBREAK_CORPUS")
	}
	b := book(t)
	var out strings.Builder
	out.WriteString("file\trecord\tfinding\tdisposition\tproduct\ttype\tseverity\taccount\tregion\tincident\trule\tsteps\treason\n")
	for _, r := range records {
		name, ok := strings.CutPrefix(r.File, "corpus/")
		if !ok {
			continue
		}
		for _, l := range b.Lines(r.Number, r.Raw, 25) {
			var steps []string
			for _, d := range l.Contain {
				steps = append(steps, d.Action+" "+d.Target)
			}
			for _, d := range l.Eradicate {
				steps = append(steps, "after approval "+d.Action+" "+d.Target)
			}
			fmt.Fprintf(&out, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, l.Record, l.Finding, l.Disposition, l.Product, l.Type, l.Severity,
				l.Account, l.Region, l.IncidentID, ruleName(b, string(l.Rule)), strings.Join(steps, ", "), l.Reason)
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
