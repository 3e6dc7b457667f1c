package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// BenchmarkClassify takes one new incident an operation: decoding, evidence, decision and ledger, without a network.
func BenchmarkClassify(b *testing.B) {
	w := benchWorld(b)
	raw := string(eventOf(b, "guardduty-crypto-mining"))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		one := strings.NewReplacer("7a10c2d3e4f5061728394a5b6c7d8e01", fmt.Sprintf("%032x", n), "i-0abcdef1234567890", fmt.Sprintf("i-%017x", n)).Replace(raw)
		if _, err := w.handle(b.Context(), call([]byte(one), fmt.Sprint("x", n))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "findings/s")
}

// BenchmarkClassifyCopy finds that another execution has it: what most deliveries are.
func BenchmarkClassifyCopy(b *testing.B) {
	w := benchWorld(b)
	raw := eventOf(b, "guardduty-crypto-mining")
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		w.clock = w.clock.Add(time.Microsecond)
		if _, err := w.handle(b.Context(), call(raw, fmt.Sprint("x", n))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "findings/s")
}

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := bareWorld()
	it := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	if err := ledger.Save(b.Context(), w.store, &it); err != nil {
		b.Fatal(err)
	}
	return w
}
