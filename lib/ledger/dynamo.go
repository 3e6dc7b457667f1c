package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoAPI are the calls that the ledger makes.
type DynamoAPI interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// Dynamo is the Store on a DynamoDB table with the key pk, sk and the index "open" on gpk, gsk.
type Dynamo struct {
	api   DynamoAPI
	table string
}

// NewDynamo gives the store of that table (a name or an ARN).
func NewDynamo(api DynamoAPI, table string) *Dynamo { return &Dynamo{api: api, table: table} }

func (d *Dynamo) Get(ctx context.Context, k Key) (Record, error) {
	out, err := d.api.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: key(k), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return Record{}, err
	}
	if len(out.Item) == 0 {
		return Record{Key: k}, nil
	}
	return fromItem(out.Item)
}

// condition is true for a record that still has the version that was read.
func condition(version int) (*string, map[string]types.AttributeValue) {
	if version == 0 {
		return aws.String("attribute_not_exists(pk)"), nil
	}
	return aws.String("version = :version"), map[string]types.AttributeValue{":version": number(version)}
}

func (d *Dynamo) Put(ctx context.Context, recs ...Record) error {
	items := make([]types.TransactWriteItem, len(recs))
	for i, rec := range recs {
		item, err := toItem(rec)
		if err != nil {
			return err
		}
		cond, values := condition(rec.Version)
		if len(recs) == 1 {
			_, err := d.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: &d.table, Item: item, ConditionExpression: cond, ExpressionAttributeValues: values})
			return conflict(err)
		}
		items[i] = types.TransactWriteItem{Put: &types.Put{TableName: &d.table, Item: item, ConditionExpression: cond, ExpressionAttributeValues: values}}
	}
	_, err := d.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
	return conflict(err)
}

func (d *Dynamo) Delete(ctx context.Context, k Key, version int) error {
	cond, values := condition(version)
	_, err := d.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: key(k), ConditionExpression: cond, ExpressionAttributeValues: values})
	return conflict(err)
}

func (d *Dynamo) List(ctx context.Context, pk, prefix string) ([]Record, error) {
	return d.query(ctx, &dynamodb.QueryInput{
		TableName: &d.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :pk AND begins_with(sk, :sk)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":pk": text(pk), ":sk": text(prefix)},
	})
}

func (d *Dynamo) Open(ctx context.Context, group string) ([]Record, error) {
	return d.query(ctx, &dynamodb.QueryInput{
		TableName: &d.table, IndexName: aws.String("open"),
		KeyConditionExpression:    aws.String("gpk = :group"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":group": text(group)},
	})
}

func (d *Dynamo) query(ctx context.Context, in *dynamodb.QueryInput) ([]Record, error) {
	var out []Record
	for pages := dynamodb.NewQueryPaginator(d.api, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			rec, err := fromItem(item)
			if err != nil {
				return nil, err
			}
			out = append(out, rec)
		}
	}
	return out, nil
}

func (d *Dynamo) AddToSet(ctx context.Context, k Key, member string, limit int, expires time.Time) (bool, error) {
	if limit < 1 {
		return false, nil
	}
	_, err := d.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: key(k),
		UpdateExpression:         aws.String("ADD #members :set SET expires = :expires"),
		ConditionExpression:      aws.String("attribute_not_exists(#members) OR contains(#members, :member) OR size(#members) < :limit"),
		ExpressionAttributeNames: map[string]string{"#members": "members"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":set":     &types.AttributeValueMemberSS{Value: []string{member}},
			":member":  text(member),
			":limit":   number(limit),
			":expires": number(int(expires.Unix())),
		},
	})
	if err = conflict(err); errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// conflict turns a failed condition into ErrConflict.
func conflict(err error) error {
	var failed *types.ConditionalCheckFailedException
	var ongoing *types.TransactionConflictException // a write of one item, while a transaction has it
	if errors.As(err, &failed) || errors.As(err, &ongoing) {
		return ErrConflict
	}
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) {
		for _, r := range cancelled.CancellationReasons {
			if code := aws.ToString(r.Code); code == "ConditionalCheckFailed" || code == "TransactionConflict" {
				return ErrConflict
			}
		}
	}
	return err
}

func key(k Key) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"pk": text(k.PK), "sk": text(k.SK)}
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.Itoa(n)}
}

// toItem lays the JSON object out as native attributes under "data", so that people can read the table in the console.
func toItem(rec Record) (map[string]types.AttributeValue, error) {
	var data map[string]any
	if err := json.Unmarshal(rec.Data, &data); err != nil {
		return nil, fmt.Errorf("%s %s is not a JSON object: %w", rec.PK, rec.SK, err)
	}
	value, err := attributevalue.Marshal(data)
	if err != nil {
		return nil, err
	}
	item := map[string]types.AttributeValue{"pk": text(rec.PK), "sk": text(rec.SK), "version": number(rec.Version + 1), "data": value}
	if rec.Group != "" {
		item["gpk"], item["gsk"] = text(rec.Group), text(rec.Sort)
	}
	if !rec.Expires.IsZero() {
		item["expires"] = number(int(rec.Expires.Unix()))
	}
	return item, nil
}

func fromItem(item map[string]types.AttributeValue) (Record, error) {
	var fixed struct {
		PK, SK, GPK, GSK string
		Version          int
		Expires          int64
		Data             map[string]any
	}
	if err := attributevalue.UnmarshalMapWithOptions(item, &fixed); err != nil {
		return Record{}, err
	}
	data, err := json.Marshal(fixed.Data)
	if err != nil {
		return Record{}, err
	}
	rec := Record{Key: Key{fixed.PK, fixed.SK}, Version: fixed.Version, Group: fixed.GPK, Sort: fixed.GSK, Data: data}
	if fixed.Expires > 0 {
		rec.Expires = time.Unix(fixed.Expires, 0).UTC()
	}
	return rec, nil
}
