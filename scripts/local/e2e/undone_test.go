//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/incident"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"
)

// slowly has an action wait so long whether what it changed stays, so that an adversary is in time on a busy machine too.
func slowly(t *testing.T, function string, wait time.Duration) {
	t.Helper()
	const parameter = "/firebreak/action"
	was := must(hub.SSM.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(parameter)}))(t).Parameter.Value
	put := func(ctx context.Context, value string) {
		_, err := hub.SSM.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(parameter), Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
		check(t, err)
		platform.Kill(function) // what it read a moment ago it would keep
	}
	var times setting.Action
	check(t, json.Unmarshal([]byte(*was), &times))
	times.SettleMilliseconds = int(wait.Milliseconds())
	text, err := json.Marshal(times)
	check(t, err)
	put(t.Context(), string(text))
	t.Cleanup(func() { put(context.Background(), *was) })
}

// undoing takes a bucket's block away whenever it is whole, so many times (0: always). What comes back ends that and says how often.
func undoing(t *testing.T, bucket string, times int) func() int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	undone := 0
	var done sync.WaitGroup
	done.Go(func() {
		for ; ctx.Err() == nil && (times == 0 || undone < times); time.Sleep(5 * time.Millisecond) {
			if on, err := member.Blocked(ctx, bucket); err == nil && on == 4 && member.Unblock(ctx, bucket) == nil {
				undone++
			}
		}
	})
	stop := func() int {
		cancel()
		done.Wait()
		return undone
	}
	t.Cleanup(func() { stop() })
	return stop
}

// Whoever undoes a change once, before it is called contained, is beaten: the change is made again. Whoever never stops is never called
// contained: people are asked, and told what undoes it.
func TestWhoeverUndoesItIsBeatenOrAPersonIsAsked(t *testing.T) {
	slowly(t, "firebreak-block-public-access", 2*time.Second)
	t.Run("once", func(t *testing.T) {
		since := time.Now()
		bucket, finding := public(t)
		stop := undoing(t, bucket, 1)
		put(t, finding)
		run := settle(t, finding)
		if n := stop(); run.Ending() != "Contained" || n != 1 {
			t.Errorf("undone %d times: %s", n, show(run))
		}
		if on, err := member.Blocked(t.Context(), bucket); on != 4 || err != nil {
			t.Errorf("it is called contained, and %d of 4 flags are on (%v)", on, err)
		}
		if n := len(changes(t, since, finding.Incident())); n != 2 {
			t.Errorf("it was changed %d times, want once and once again", n)
		}
	})
	t.Run("always", func(t *testing.T) {
		bucket, finding := public(t)
		stop := undoing(t, bucket, 0)
		put(t, finding)
		run := settle(t, finding)
		n := stop()
		if run.Ending() != "NeedsPerson" || n < 2 {
			t.Errorf("undone %d times: %s", n, show(run))
		}
		standing(t, finding.Incident(), incident.Open, incident.EndNeedsPerson)
		const words = "somebody or something undoes it"
		if l := letter(t, world.Actions, finding.Incident()); !strings.Contains(l, words) || !strings.Contains(l, "NotVerified") {
			t.Errorf("the dead letter does not say that %s: %s", words, l)
		}
	})
}

// The second of three interfaces is denied: the incident and its dead letter say exactly what is done and what is not. Mended and redriven
// it is whole; released half done, what was changed is as before.
func TestTheSecondOfThreeInterfacesIsDenied(t *testing.T) {
	half := func(t *testing.T) (i world.Instance, finding world.Event, before map[string][]string, mend func()) {
		i = instance(t)
		check(t, member.AddInterface(t.Context(), &i))
		before = must(member.Groups(t.Context(), i.ID))(t)
		denied := i.Interfaces[1]
		mend = deny(t, account.Network, "ec2:ModifyNetworkInterfaceAttribute", "arn:aws:ec2:"+world.Region+":"+world.MemberAccount+":network-interface/"+denied)
		finding = mining(t, i)
		put(t, finding)
		asks(t, finding)
		decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
		run := settle(t, finding)
		if run.Ending() != "NeedsPerson" {
			t.Fatal(show(run))
		}
		groups := must(member.Groups(t.Context(), i.ID))(t)
		for _, eni := range i.Interfaces {
			if changed := !cmp.Equal(groups[eni], before[eni]); changed != (eni != denied) {
				t.Errorf("%s wore %v and wears %v", eni, before[eni], groups[eni])
			}
		}
		recorded := ""
		for _, e := range must(hub.Timeline(t.Context(), finding.Incident()))(t) {
			if e.State == "IsolateInstance" {
				recorded = e.What + "\n"
			}
		}
		if shown := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "show", finding.Incident()))(t); !strings.Contains(shown, "HALF DONE") || !strings.Contains(shown, "not done: "+denied+"/groups") {
			t.Errorf("show does not say that it is half done, and what is not:\n%s", shown)
		}
		for what, text := range map[string]string{"the dead letter": letter(t, world.Actions, finding.Incident()), "the timeline": recorded} {
			done, open, found := strings.Cut(text[strings.Index(text, "(done: ")+1:], "; not done: ")
			if !found || !strings.HasPrefix(done, "done: ") {
				t.Errorf("%s does not say what is done and what not:\n%s", what, text)
				continue
			}
			open, _, _ = strings.Cut(open, ")\n")
			for _, eni := range i.Interfaces {
				if is := strings.Contains(done, eni+"/groups"); is != (eni != denied) {
					t.Errorf("%s says of %s done: %v\n%s", what, eni, is, text)
				}
			}
			if !strings.Contains(open, denied+"/groups: "+strings.Join(before[denied], ",")+" -> ") {
				t.Errorf("%s does not say that %s is not done:\n%s", what, denied, text)
			}
		}
		return i, finding, before, mend
	}
	t.Run("redriven", func(t *testing.T) {
		i, finding, before, mend := half(t)
		mend()
		must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", finding.Incident()))(t)
		check(t, world.Until(t.Context(), 30*time.Second, "all three interfaces isolated", func(ctx context.Context) (bool, error) {
			r, err := hub.Result(ctx, finding.Incident(), "isolate-instance")
			return r.Outcome == incident.Applied, err
		}))
		isolated(t, i, true)
		release(t, finding.Incident())
		if diff := cmp.Diff(before, must(member.Groups(t.Context(), i.ID))(t)); diff != "" {
			t.Errorf("released, the groups are not as before: %s", diff)
		}
	})
	t.Run("released", func(t *testing.T) {
		i, finding, before, mend := half(t)
		mend()
		told, err := release(t, finding.Incident(), "--why", "half of it is no use")
		if diff := cmp.Diff(before, must(member.Groups(t.Context(), i.ID))(t)); diff != "" || err != nil {
			t.Errorf("%v, the groups are not as before: %s\n%s", err, diff, told)
		}
	})
}

// deny takes a right on a resource from one of the remediation roles; what comes back gives it back.
func deny(t *testing.T, role account.Role, action, resource string) func() {
	t.Helper()
	full, policy := account.RolePrefix+string(role), name("deny")
	_, err := member.IAM.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &full, PolicyName: &policy, PolicyDocument: aws.String(fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":%q,"Resource":%q}]}`, action, resource))})
	check(t, err)
	give := sync.OnceFunc(func() {
		_, err := member.IAM.DeleteRolePolicy(context.Background(), &iam.DeleteRolePolicyInput{RoleName: &full, PolicyName: &policy})
		check(t, err)
	})
	t.Cleanup(give)
	return give
}
