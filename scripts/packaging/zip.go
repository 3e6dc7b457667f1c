package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// epoch is the one time that stands in every zip: the earliest that the format can say.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// pack puts out/bin/<name> into out/<name>.zip as bootstrap, unless the zip has it already: the zip's comment is the hash of
// what is in it.
func pack(out, name string) (string, error) {
	binary, err := os.ReadFile(filepath.Join(out, "bin", name))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(binary)
	hash := hex.EncodeToString(sum[:])
	target := filepath.Join(out, name+".zip")
	if have, err := zip.OpenReader(target); err == nil {
		same := have.Comment == hash
		have.Close()
		if same {
			return "unchanged", nil
		}
	}
	var buf bytes.Buffer
	if err := archive(&buf, binary, hash); err != nil {
		return "", err
	}
	// renamed into its place, so that a broken build leaves the zip of last time
	if err := os.WriteFile(target+".new", buf.Bytes(), 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.1f MB", float64(buf.Len())/1e6), os.Rename(target+".new", target)
}

// archive writes a zip with one executable file, bootstrap, which is what provided.al2023 starts.
func archive(to io.Writer, binary []byte, comment string) error {
	w := zip.NewWriter(to)
	if err := w.SetComment(comment); err != nil {
		return err
	}
	head := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: epoch}
	head.SetMode(0o755)
	f, err := w.CreateHeader(head)
	if err != nil {
		return err
	}
	if _, err := f.Write(binary); err != nil {
		return err
	}
	return w.Close()
}
