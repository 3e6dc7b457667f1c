package hostile

import "testing"

func TestThereAreFiveHundred(t *testing.T) {
	if n := len(Strings()); n < 500 {
		t.Errorf("%d strings", n)
	}
}
