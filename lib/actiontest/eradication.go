package actiontest

import (
	"context"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Where the findings of incidents can be read again, after Source.
const (
	Detector = "12abc34d567e8fa901bc2d34e56789f0"
	Finding  = "16afba5c5c43e07c9e3e5e2e544e95df"
)

// NewEradicating is New for an eradicating action, which may need the world's ledger.
func NewEradicating(t *testing.T, name string, d func(ledger.Store) action.Destruction) *World {
	t.Helper()
	w := empty(t, name)
	w.do = w.spine(time.Millisecond).Eradicating(name, d(w.Store))
	return w
}

// Source says of the request's incident where its finding can be read again.
func (w *World) Source(req incident.Request) {
	w.t.Helper()
	_, err := ledger.Update(context.Background(), w.Store, ledger.IncidentKey(req.Incident.ID), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Finding.Source, it.Value.Finding.NativeID = Detector, Finding
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Approve writes that two people approved what the request would destroy as it stands now, and gives the request with that
// approval.
func (w *World) Approve(req incident.Request) incident.Request {
	w.t.Helper()
	look := req
	look.Mode = incident.Look
	planned := w.Must(look)
	id, steps := req.Incident.ID, []approval.Step{{Step: req.Step, Identity: planned.Identity, Destroys: planned.Changes}}
	it := ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: approval.Approval{
		Incident: id, Number: 1, Episode: 1, Kind: approval.KindEradicate, Steps: steps, Need: 2, Status: approval.StatusApproved,
		Hash:      approval.Hash(approval.KindEradicate, id, 1, steps),
		Decisions: []approval.Decision{{Approver: "alice", Approve: true, Via: setting.ViaSignIn}, {Approver: "bob", Approve: true, Via: setting.ViaCLI}},
	}}
	if err := ledger.Save(context.Background(), w.Store, &it); err != nil {
		w.t.Fatal(err)
	}
	req.Approval = 1
	return req
}
