package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"firebreak/lib/playbook"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

const playbookHelp = `  check FILE         reads a playbook strictly, as an installation would load it, and says what is wrong with it by file and line, or
                     what may not be meant; needs no AWS
  use FILE|builtin   checks it, keeps it in the evidence bucket, and makes that version the one that decides, everywhere within a
                     minute. What was decided before stays as it was. Whoever changes the playbook does not decide about what
                     waits to be destroyed meanwhile.
`

// playbookSetting is the setting that the templates make.
const playbookSetting = "/firebreak/playbook"

func aPlaybook(ctx context.Context, a *app, c *call) error {
	if len(c.args) != 2 || c.args[0] != "check" && c.args[0] != "use" {
		return wrong("it is playbook check FILE, or playbook use FILE|builtin")
	}
	use, file := c.args[0] == "use", c.args[1]
	if use && file == setting.Builtin {
		return a.decideBy(ctx, c, file, nil)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	remarks, err := playbook.Check(file, data)
	if err != nil {
		return err
	}
	switch {
	case c.json && !use:
		return json.NewEncoder(a.out).Encode(map[string]any{"file": file, "remarks": append([]string{}, remarks...)})
	case !c.json:
		for _, r := range remarks {
			fmt.Fprintln(a.out, r)
		}
	}
	if use {
		return a.decideBy(ctx, c, file, data)
	}
	fmt.Fprintf(a.out, "%s is a playbook that would be loaded\n", file)
	return nil
}

// decideBy makes a playbook the one that decides: the built-in one where there is no data.
func (a *app) decideBy(ctx context.Context, c *call, file string, data []byte) error {
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	to := setting.Playbook{Source: setting.Builtin}
	if data != nil {
		sum := sha256.Sum256(data)
		to = setting.Playbook{Source: setting.S3, Key: "playbooks/" + filepath.Base(file), SHA256: hex.EncodeToString(sum[:])}
		if to.Bucket, to.Version, err = k.keep(ctx, to.Key, data); err != nil {
			return err
		}
	}
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	if _, err := k.settings.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(playbookSetting), Value: aws.String(string(text)), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)}); err != nil {
		return fmt.Errorf("write the setting %s: %w", playbookSetting, err)
	}
	if c.json {
		return json.NewEncoder(a.out).Encode(to)
	}
	where := "the built-in playbook"
	if data != nil {
		where = fmt.Sprintf("s3://%s/%s, version %s", to.Bucket, to.Key, to.Version)
	}
	fmt.Fprintf(a.out, "%s decides in %s, everywhere within a minute\n", where, k.where)
	return nil
}
