//go:build engine

package main

import (
	"context"
	"fmt"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/instance"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestOnTheEngine(t *testing.T) {
	either := []any{true, false}
	actiontest.RuinOnTheEngine(t, actiontest.Ruination{
		Action: "terminate-instance",
		Act: func(store ledger.Store, inst *setting.Installation, access account.Access) action.Destruction {
			return wired(store, inst, access)
		},
		Factors: []actiontest.Factor{
			{Name: "interfaces", Levels: []any{1, 2, 4}}, {Name: "volumes", Levels: []any{1, 2, 5}},
			{Name: "protected", Levels: either}, {Name: "keeps", Levels: either}, {Name: "stopped", Levels: either},
		},
		Usual: actiontest.Choice{"interfaces": 2, "volumes": 2, "protected": true, "keeps": true, "stopped": false},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Doomed {
			api, ctx := ec2.NewFromConfig(e.Owner), t.Context()
			n := actiontest.NewNetwork(t, e)
			groups := []string{n.Group(t, e)}
			launch := actiontest.Launch{Network: &n, Volumes: c.Number("volumes"), Protected: c.Is("protected"), Keeps: c.Is("keeps")}
			for range c.Number("interfaces") {
				launch.Interfaces = append(launch.Interfaces, groups)
			}
			in := actiontest.NewInstance(t, e, launch)
			if c.Is("stopped") {
				actiontest.Must(api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{in.ID}}))(t)
			}
			after, last := map[string]string{}, ""
			for _, v := range in.Volumes {
				last = *actiontest.Must(api.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &v, TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{
					{Key: aws.String(instance.IncidentTag), Value: aws.String("INC-AAAAAAAAAAAAAAAA")}, {Key: aws.String(instance.Tag), Value: &in.ID},
				}}}}))(t).SnapshotId
				after[v+"/snapshot"] = last
			}
			return actiontest.Doomed{
				Target: in.ARN, Finding: fmt.Sprintf(`{"resourceType":"Instance","instanceDetails":{"instanceId":%q}}`, in.ID),
				Keep: func(store ledger.Store) {
					it := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(in.ARN, "snapshot-volumes"), Value: ledger.Hold{Resource: in.ARN, Action: "snapshot-volumes", Phase: ledger.Held, After: after}}
					if err := ledger.Save(context.Background(), store, &it); err != nil {
						t.Fatal(err)
					}
				},
				Stands: func() any { return in.State(t) },
				Lives: func() bool {
					state := in.State(t)["state"]
					return state != "terminated" && state != "shutting-down"
				},
				Change: func() {
					actiontest.Must(api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &in.Interfaces[0], Groups: []string{n.Group(t, e)}}))(t)
				},
				Spoil:  func() { actiontest.Must(api.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &last}))(t) },
				Delete: in.Terminate(t),
				Lacks:  []string{"ec2:TerminateInstances"}, On: []string{in.ARN},
			}
		},
	})
}
