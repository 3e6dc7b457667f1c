package world

import (
	"context"
	"testing"
)

func TestProbe(t *testing.T) {
	root, _ := Root()
	ctx := context.Background()
	p, err := Start(ctx, root, "e2e-probe", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	m := p.Member()
	i, err := m.Instance(ctx, "clinic-web", "clinic-web", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", i)
	g, err := m.Groups(ctx, i.ID)
	t.Log(g, err)
	t.Log(m.Isolated(ctx, i.ID))
	d, _ := m.describe(ctx, i.ID)
	t.Logf("%+v %+v", d.IamInstanceProfile, d.NetworkInterfaces[0].Ipv6Addresses)
	u, err := m.User(ctx, "bob")
	t.Log(u, err)
	t.Log(m.Bucket(ctx, "clinic-exports"))
	t.Log(m.Blocked(ctx, "clinic-exports"))
	t.Log(m.Keys(ctx, "bob"))
	t.Log(m.Snapshots(ctx, i.Volumes...))
}
