package ledger

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// table notes how it is read and written: conditions that writes make, and reads that may be stale.
type table struct {
	conditions []string
	stale      []string
}

func (d *table) write(condition *string) {
	d.conditions = append(d.conditions, aws.ToString(condition))
}

func (d *table) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if !aws.ToBool(in.ConsistentRead) {
		d.stale = append(d.stale, "get")
	}
	return &dynamodb.GetItemOutput{}, nil
}

func (d *table) Query(_ context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if !aws.ToBool(in.ConsistentRead) {
		d.stale = append(d.stale, "query of "+aws.ToString(in.IndexName))
	}
	return &dynamodb.QueryOutput{}, nil
}

func (d *table) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	d.write(in.ConditionExpression)
	return &dynamodb.PutItemOutput{}, nil
}

func (d *table) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	d.write(in.ConditionExpression)
	return &dynamodb.UpdateItemOutput{}, nil
}

func (d *table) DeleteItem(_ context.Context, in *dynamodb.DeleteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	d.write(in.ConditionExpression)
	return &dynamodb.DeleteItemOutput{}, nil
}

func (d *table) TransactWriteItems(_ context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	for _, item := range in.TransactItems {
		var put types.Put
		if item.Put != nil {
			put = *item.Put
		}
		d.write(put.ConditionExpression)
	}
	return &dynamodb.TransactWriteItemsOutput{}, nil
}

// Every write is conditional: on the version that was read, or on nothing being there. The platform's table shows that the
// conditions hold; that none is left out shows only here.
func TestEveryWriteIsConditional(t *testing.T) {
	api, ctx := &table{}, t.Context()
	d := NewDynamo(api, "ledger")
	fresh := Record{Key: Key{"A", "META"}, Data: []byte(`{}`)}
	again := Record{Key: Key{"B", "META"}, Version: 3, Data: []byte(`{}`)}
	for _, write := range []func() error{
		func() error { return d.Put(ctx, fresh) },
		func() error { return d.Put(ctx, again) },
		func() error { return d.Put(ctx, fresh, again) },
		func() error { return d.Delete(ctx, again.Key, again.Version) },
		func() error { _, err := d.AddToSet(ctx, fresh.Key, "a", 2, time.Now()); return err },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	const absent, unchanged = "attribute_not_exists(pk)", "version = :version"
	want := []string{absent, unchanged, absent, unchanged, unchanged, "attribute_not_exists(#members) OR contains(#members, :member) OR size(#members) < :limit"}
	if got := strings.Join(api.conditions, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("conditions:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// The kill switch takes effect at once only where nothing is read that a replica has not heard yet. An index cannot be read
// consistently: what is found in it is loaded again by its key.
func TestReadsAreConsistent(t *testing.T) {
	api, ctx := &table{}, t.Context()
	d := NewDynamo(api, "ledger")
	if _, err := d.Get(ctx, Key{"A", "META"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.List(ctx, "A", "EVENT#"); err != nil {
		t.Fatal(err)
	}
	if len(api.stale) > 0 {
		t.Errorf("may be stale: %v", api.stale)
	}
	if _, err := d.Open(ctx, "HOLD#0"); err != nil || len(api.stale) != 1 || api.stale[0] != "query of open" {
		t.Errorf("the index was read as %v (%v): DynamoDB refuses a consistent read of one", api.stale, err)
	}
}
