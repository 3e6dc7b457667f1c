package finding

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Misread is where a file stops being JSON. Line and Column count from 1, columns in characters.
type Misread struct {
	File         string
	Line, Column int
	What         string
}

func (m *Misread) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.What)
}

// maxMisread is how many broken records a file can have before the rest is not read.
const maxMisread = 100

// Records reads JSON of any size: one value, several one after another (JSON Lines or not), arrays of them, whose elements are
// records. give gets each as it is written, and keeps none of it. What is no JSON is skipped up to the next line that begins with
// a brace. Errors: give's own, at once; those of the reader; otherwise all *Misread, joined, after the last record.
func Records(file string, r io.Reader, give func(raw []byte) error) error {
	s := &scanner{file: file, in: bufio.NewReaderSize(r, 1<<16), line: 1, column: 1}
	if err := s.open(); err != nil {
		return err
	}
	var all []error
	for {
		raw, err := s.record()
		var m *Misread
		switch {
		case err == nil:
			if err := give(raw); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return errors.Join(all...)
		case errors.As(err, &m):
			if all = append(all, m); len(all) == maxMisread {
				return errors.Join(append(all, fmt.Errorf("%s: too much of it is no JSON: the rest is not read", file))...)
			}
			if err := s.skip(); err != nil {
				return errors.Join(append(all, err)...)
			}
		default:
			return errors.Join(append(all, err)...)
		}
	}
}

// scanner checks JSON byte by byte (RFC 8259) and keeps the record that it is in.
type scanner struct {
	file string
	in   *bufio.Reader
	// back is read again before the rest, after a broken record.
	back []byte

	line, column int
	// began is where the record in buf begins.
	beganLine, beganColumn int
	buf                    []byte

	// list: in an array at top level; more: one element was read in it; comma: another has to follow.
	list, more, comma bool
}

// maxNesting is encoding/json's own limit.
const maxNesting = 10000

// open drops a byte order mark.
func (s *scanner) open() error {
	mark, err := s.in.Peek(3)
	if bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, err = s.in.Discard(3)
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", s.file, err)
	}
	return nil
}

// peek gives the next byte without moving on.
func (s *scanner) peek() (byte, error) {
	if len(s.back) > 0 {
		return s.back[0], nil
	}
	b, err := s.in.Peek(1)
	if len(b) == 1 {
		return b[0], nil
	}
	if !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", s.file, err)
	}
	return 0, io.EOF
}

// take moves on by the byte that peek gave, and keeps it.
func (s *scanner) take() {
	var c byte
	if len(s.back) > 0 {
		c, s.back = s.back[0], s.back[1:]
	} else {
		c, _ = s.in.ReadByte()
	}
	s.buf = append(s.buf, c)
	switch {
	case c == '\n':
		s.line, s.column = s.line+1, 1
	case utf8.RuneStart(c):
		s.column++
	}
}

func (s *scanner) wrong(what string, args ...any) error {
	return &Misread{s.file, s.line, s.column, fmt.Sprintf(what, args...)}
}

// unexpected says what stands where something else should.
func (s *scanner) unexpected(wanted string) error {
	c, err := s.peek()
	if errors.Is(err, io.EOF) {
		return s.wrong("it ends where %s should follow", wanted)
	}
	if err != nil {
		return err
	}
	if c < ' ' || c >= 0x7f {
		return s.wrong("the byte 0x%02x stands where %s should follow", c, wanted)
	}
	return s.wrong("%q stands where %s should follow", c, wanted)
}

func (s *scanner) space() {
	for {
		switch c, err := s.peek(); {
		case err != nil:
			return
		case c == ' ', c == '\t', c == '\n', c == '\r':
			s.take()
		default:
			return
		}
	}
}

// record gives the next record. io.EOF after the last.
func (s *scanner) record() ([]byte, error) {
	s.buf = s.buf[:0]
	for {
		s.space()
		c, err := s.peek()
		switch {
		case s.list && !s.comma && c == ']' && err == nil:
			s.take()
			s.list = false
			continue
		case s.list && s.more && c == ',' && err == nil:
			s.take()
			s.more, s.comma = false, true
			continue
		case s.list && errors.Is(err, io.EOF):
			s.list = false
			return nil, s.wrong("it ends in the middle of a list")
		case s.list && s.more:
			return nil, s.unexpected("a comma or the end of the list")
		case err != nil:
			return nil, err
		case !s.list && c == '[':
			s.take()
			s.list, s.more, s.comma = true, false, false
			continue
		}
		break
	}
	s.buf = s.buf[:0]
	s.beganLine, s.beganColumn = s.line, s.column
	if err := s.value(0); err != nil {
		return nil, s.unfinished(err)
	}
	s.more, s.comma = true, false
	return s.buf, nil
}

// unfinished blames the line that was left open rather than the place, lines below, where that shows.
func (s *scanner) unfinished(err error) error {
	c, at := s.peek()
	i := bytes.Index(s.buf, []byte("\n{"))
	if i < 0 || s.beganColumn != 1 || at == nil && !(c == '{' && s.column == 1) {
		return err
	}
	line := s.buf[:i]
	column := utf8.RuneCount(line[bytes.LastIndexByte(line, '\n')+1:]) + 1
	return &Misread{s.file, s.beganLine + bytes.Count(line, []byte("\n")), column, "the record is not finished when the next one begins"}
}

// skip goes on to the next line that begins with a brace, also within what was read of the broken record.
func (s *scanner) skip() error {
	if i := bytes.Index(s.buf, []byte("\n{")); i >= 0 {
		s.line, s.column = s.beganLine+bytes.Count(s.buf[:i+1], []byte("\n")), 1
		s.back = append(bytes.Clone(s.buf[i+1:]), s.back...)
		s.more, s.comma = false, false
		return nil
	}
	for {
		s.buf = s.buf[:0]
		c, err := s.peek()
		if errors.Is(err, io.EOF) {
			s.list = false
			return nil
		}
		if err != nil {
			return err
		}
		if c == '{' && s.column == 1 {
			s.more, s.comma = false, false
			return nil
		}
		s.take()
	}
}

func (s *scanner) value(depth int) error {
	if depth > maxNesting {
		return s.wrong("it is nested deeper than %d levels", maxNesting)
	}
	c, err := s.peek()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case err != nil:
	case c == '{':
		return s.members('}', depth)
	case c == '[':
		return s.members(']', depth)
	case c == '"':
		return s.text()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.unexpected("a value")
}

// members reads an object or an array up to its end.
func (s *scanner) members(end byte, depth int) error {
	s.take()
	for n := 0; ; n++ {
		s.space()
		if c, err := s.peek(); err == nil && c == end && n == 0 {
			s.take()
			return nil
		}
		if end == '}' {
			if c, err := s.peek(); err != nil || c != '"' {
				return s.unexpected("a key in quotes")
			}
			if err := s.text(); err != nil {
				return err
			}
			s.space()
			if c, err := s.peek(); err != nil || c != ':' {
				return s.unexpected("a colon")
			}
			s.take()
			s.space()
		}
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.space()
		switch c, err := s.peek(); {
		case err == nil && c == end:
			s.take()
			return nil
		case err == nil && c == ',':
			s.take()
		default:
			return s.unexpected(fmt.Sprintf("a comma or %q", end))
		}
	}
}

func (s *scanner) text() error {
	s.take()
	for {
		c, err := s.peek()
		switch {
		case err != nil:
			return s.unexpected("the rest of a text in quotes")
		case c == '"':
			s.take()
			return nil
		case c < ' ':
			return s.wrong("the control character 0x%02x stands in a text in quotes", c)
		case c != '\\':
			s.take()
			continue
		}
		s.take()
		c, err = s.peek()
		switch {
		case err == nil && bytes.IndexByte([]byte(`"\/bfnrt`), c) >= 0:
			s.take()
		case err == nil && c == 'u':
			s.take()
			for range 4 {
				if c, err = s.peek(); err != nil || bytes.IndexByte([]byte("0123456789abcdefABCDEF"), c) < 0 {
					return s.unexpected("four hexadecimal digits")
				}
				s.take()
			}
		default:
			return s.unexpected(`one of "\/bfnrtu`)
		}
	}
}

func (s *scanner) digits() error {
	n := 0
	for ; ; n++ {
		if c, err := s.peek(); err != nil || c < '0' || c > '9' {
			break
		}
		s.take()
	}
	if n == 0 {
		return s.unexpected("a digit")
	}
	return nil
}

func (s *scanner) number() error {
	if c, _ := s.peek(); c == '-' {
		s.take()
	}
	if c, err := s.peek(); err == nil && c == '0' {
		s.take()
	} else if err := s.digits(); err != nil {
		return err
	}
	if c, err := s.peek(); err == nil && c == '.' {
		s.take()
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c, err := s.peek(); err == nil && (c == 'e' || c == 'E') {
		s.take()
		if c, err := s.peek(); err == nil && (c == '+' || c == '-') {
			s.take()
		}
		if err := s.digits(); err != nil {
			return err
		}
	}
	// Two values need something between them: 01 and 1x are no numbers.
	if c, err := s.peek(); err == nil && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '"' || c == '.') {
		return s.unexpected("the end of the number")
	}
	return nil
}

func (s *scanner) literal(word string) error {
	for i := range word {
		if c, err := s.peek(); err != nil || c != word[i] {
			return s.unexpected(word)
		}
		s.take()
	}
	if c, err := s.peek(); err == nil && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
		return s.unexpected("the end of " + word)
	}
	return nil
}
