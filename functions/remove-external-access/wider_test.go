package main

import "testing"

// A statement that names the whole account of whom is to be taken out lets them in too: it is for people, never called contained.
func TestTheWholeAccountLetsItsPrincipalIn(t *testing.T) {
	const role = "arn:aws:iam::444455556666:role/vendor"
	for name, c := range map[string]struct {
		statement, principal string
		open                 int
	}{
		"the account's root":              {`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"s3:*"}`, role, 1},
		"the account's number":            {`{"Effect":"Allow","Principal":{"AWS":["444455556666","111122223333"]},"Action":"s3:*"}`, role, 1},
		"a condition on the account":      {`{"Effect":"Allow","Principal":"*","Action":"s3:*","Condition":{"StringEquals":{"aws:PrincipalAccount":"444455556666"}}}`, role, 1},
		"a condition on a pattern":        {`{"Effect":"Allow","Principal":"*","Action":"s3:*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::444455556666:role/ven*"}}}`, role, 1},
		"a pattern that does not fit":     {`{"Effect":"Allow","Principal":"*","Action":"s3:*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::444455556666:role/auditor*"}}}`, role, 0},
		"another account":                 {`{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*"}`, role, 0},
		"another role of the account":     {`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:role/auditor"},"Action":"s3:*"}`, role, 0},
		"the account, narrowed to others": {`{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"s3:*","Condition":{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::444455556666:role/auditor"}}}`, role, 0},
		"the account, denied":             {`{"Effect":"Deny","Principal":{"AWS":"444455556666"},"Action":"s3:*"}`, role, 0},
	} {
		e, err := without(`{"Version":"2012-10-17","Statement":[`+c.statement+`]}`, c.principal)
		if err != nil || len(e.out) > 0 || len(e.open) != c.open {
			t.Errorf("%s: takes %q out, leaves %q open, %v", name, e.out, e.open, err)
		}
	}
}
