package main

import (
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/scripts/local/scanner"
)

// long tells whether to run what takes too long for every change: scripts/test long.
var long = os.Getenv("FIREBREAK_LONG") != ""

// Whatever follows links, renders pages, presses buttons and fills forms by itself changes nothing, also where a link alone may
// decide everything: 100,000 requests in the long run, and the ledger is what it was, but for who looked.
func TestMachinesDecideNothing(t *testing.T) {
	total := 3000
	if long {
		total = 100000
	}
	kinds := scanner.Kinds()
	if len(kinds) < 25 {
		t.Fatalf("%d kinds", len(kinds))
	}
	asked := map[string]int{}
	sum, began := 0, time.Now()
	for _, kind := range []approval.Kind{approval.KindEradicate, approval.KindOverride} {
		d := newDoor(t, kind)
		ring, _ := approval.ParseRing([]byte(secret))
		meta, err := d.meta()
		if err != nil {
			t.Fatal(err)
		}
		paths := []string{"/approve/" + d.link("alice"), "/approve/" + d.link("bob"), "/approve/" + d.link("carol"), "/seen/" + ring.SeenLink(meta, "alice", d.now.Add(time.Hour)), "/signin/" + d.link("alice")}
		before := d.dump()
		rnd := rand.New(rand.NewSource(1))
		for done := 0; done < total/2; {
			for _, k := range kinds {
				m := scanner.Scanner{Origin: front, Typed: instance, Rand: rnd, Ask: func(method, path string, headers map[string]string, body string) scanner.Answer {
					res := d.ask(method, path, headers, body)
					return scanner.Answer{Cookies: res.Cookies, Body: res.Body}
				}}
				m.Visit(k, paths[rnd.Intn(len(paths))])
				asked[k.Name] += m.Asked
				done += m.Asked
			}
			d.log.Reset()
		}
		if after := d.dump(); after != before {
			t.Errorf("something has changed:\n%s\n%s", before, after)
		}
		if len(d.sent)+len(d.started) != 0 {
			t.Errorf("something was decided: %v %v", d.sent, d.started)
		}
		events, err := d.timeline()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if !strings.HasPrefix(e.What, "looked at") {
				t.Errorf("the timeline has: %s %s", e.Who, e.What)
			}
		}
	}
	names := []string{}
	for name, n := range asked {
		sum += n
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(names)
	t.Logf("%d requests of %d kinds in %s: %s", sum, len(asked), time.Since(began).Round(time.Millisecond), strings.Join(names, ", "))
}

// A million random forgeries open nothing: links that are well formed in every way but the signature, nonces, and seals.
func TestRandomForgeriesOpenNothing(t *testing.T) {
	n := 20000
	if long {
		n = 1000000
	}
	d := newDoor(t, approval.KindEradicate)
	ring, err := approval.ParseRing([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	a := d.approval(1)
	link := d.link("alice")
	l, err := ring.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(link, ".")
	nonce := ring.Nonce(l, "", d.now)
	rnd := rand.New(rand.NewSource(2))
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rnd.Intn(64)]
		}
		return string(b)
	}
	mac := func() string { return text(42) + string(alphabet[4*rnd.Intn(16)]) } // 32 bytes: four bits are left for the last character
	parsed := 0
	for i := range n {
		forged := head + "." + mac()
		if i%4 == 3 {
			forged = text(1+rnd.Intn(len(head)+20)) + "." + mac()
		}
		if forged == link {
			continue
		}
		if f, err := ring.Parse(forged); err == nil {
			if parsed++; ring.Genuine(f, a) {
				t.Fatalf("a forged link opens: %s", forged)
			}
		}
		body := nonce
		if i%2 == 0 {
			body = text(len(nonce))
		} else { // the right beginning, another signature
			body = nonce[:27] + text(len(nonce)-27)
		}
		if _, ok := ring.Spend(l, "", body, d.now); ok && body != nonce {
			t.Fatalf("a forged nonce is taken: %s", body)
		}
		if i%100 == 0 { // through the whole door
			if res := d.ask("GET", "/approve/"+forged, nil, ""); res.StatusCode != http.StatusNotFound {
				t.Fatalf("a forged link opens: %s", forged)
			}
		}
		var s session
		if i%10 == 0 && ring.Open(sessionCookie, text(80)+"."+mac(), &s, d.now) {
			t.Fatal("a forged session is taken")
		}
	}
	if parsed < n/2 {
		t.Errorf("only %d of %d forgeries were well formed", parsed, n)
	}
	t.Logf("%d forged links (%d well formed), %d nonces, %d sessions", n, parsed, n, n/10)
}
