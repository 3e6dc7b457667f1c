package finding

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
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

// maxMisread is how many broken places of a file are named; maxAgain how many bytes of broken records are read a second time before
// the rest is not read: each of them may seem to hold all that follows.
const (
	maxMisread = 100
	maxAgain   = 1 << 28
)

// Records reads JSON of any size: one value, several one after another (JSON Lines or not), arrays of them, whose elements are
// records. give gets each as it is written, and keeps none of it. What is no JSON is skipped up to where it seems to end. Errors:
// give's own, at once; those of the reader; otherwise *Misread, joined, after the last record.
func Records(file string, r io.Reader, give func(raw []byte) error) error {
	s := &scanner{file: file, in: r, line: 1, column: 1, window: make([]byte, 0, 1<<16)}
	if err := s.open(); err != nil {
		return err
	}
	var all []error
	unnamed := 0
	for {
		raw, err := s.record()
		var m *Misread
		switch {
		case err == nil:
			if err := give(raw); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			if unnamed > 0 {
				all = append(all, fmt.Errorf("%s: %d more places are no JSON", file, unnamed))
			}
			return errors.Join(all...)
		case errors.As(err, &m):
			if len(all) < maxMisread {
				all = append(all, m)
			} else {
				unnamed++
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
	in   io.Reader
	// window is what was read and not taken; failed is why no more can be.
	window []byte
	failed error

	line, column int
	// began is where the record in buf begins.
	beganLine, beganColumn int
	buf                    []byte

	// list: in an array at top level; more: one element was read in it; comma: another has to follow.
	list, more, comma bool
	// again counts the bytes of broken records that were read a second time.
	again int
}

// maxNesting is encoding/json's own limit.
const maxNesting = 10000

// open drops a byte order mark, and turns UTF-16, which PowerShell writes, into UTF-8.
func (s *scanner) open() error {
	const mark = "\xef\xbb\xbf"
	for len(s.window) < len(mark) && s.failed == nil {
		s.fill()
	}
	switch {
	case bytes.HasPrefix(s.window, []byte(mark)):
		s.window = s.window[len(mark):]
	case bytes.HasPrefix(s.window, []byte("\xff\xfe")):
		s.wide(binary.LittleEndian)
	case bytes.HasPrefix(s.window, []byte("\xfe\xff")):
		s.wide(binary.BigEndian)
	}
	if s.failed != nil && !errors.Is(s.failed, io.EOF) && len(s.window) == 0 {
		return s.failed
	}
	return nil
}

// wide goes on with the input as UTF-16.
func (s *scanner) wide(order binary.ByteOrder) {
	in := io.Reader(bytes.NewReader(bytes.Clone(s.window[2:])))
	if s.failed == nil {
		in = io.MultiReader(in, s.in)
	}
	s.in, s.window, s.failed = &wide{in: bufio.NewReader(in), order: order}, s.window[:0], nil
}

// wide reads UTF-16 as UTF-8.
type wide struct {
	in    *bufio.Reader
	order binary.ByteOrder
	left  []byte // of a character that did not fit
}

func (w *wide) Read(p []byte) (n int, err error) {
	for n < len(p) && (n == 0 || w.in.Buffered() >= 4) {
		if len(w.left) == 0 {
			c, err := w.next()
			if err != nil {
				return n, err
			}
			w.left = utf8.AppendRune(nil, c)
		}
		took := copy(p[n:], w.left)
		n, w.left = n+took, w.left[took:]
	}
	return n, nil
}

// next gives a character: one unit, or a pair.
func (w *wide) next() (rune, error) {
	c, err := w.unit()
	if err != nil || !utf16.IsSurrogate(c) {
		return c, err
	}
	low, err := w.unit()
	if err != nil {
		return utf8.RuneError, nil
	}
	return utf16.DecodeRune(c, low), nil
}

func (w *wide) unit() (rune, error) {
	var b [2]byte
	if _, err := io.ReadFull(w.in, b[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return utf8.RuneError, nil
	} else if err != nil {
		return 0, err
	}
	return rune(w.order.Uint16(b[:])), nil
}

// fill reads more behind what is in the window.
func (s *scanner) fill() {
	keep := len(s.window)
	if cap(s.window)-keep < 1<<12 {
		s.window = append(make([]byte, 0, keep+1<<16), s.window...)
	}
	n, err := s.in.Read(s.window[keep:cap(s.window)])
	s.window = s.window[:keep+n]
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read %s: %w", s.file, err)
	}
	s.failed = err
}

// peek gives the next byte without moving on.
func (s *scanner) peek() (byte, error) {
	for len(s.window) == 0 {
		if s.failed != nil {
			return 0, s.failed
		}
		s.fill()
	}
	return s.window[0], nil
}

// take moves on by the byte that peek gave, and keeps it.
func (s *scanner) take() {
	c := s.window[0]
	s.window, s.buf = s.window[1:], append(s.buf, c)
	switch {
	case c == '\n':
		s.line, s.column = s.line+1, 1
	case utf8.RuneStart(c):
		s.column++
	}
}

// ordinary takes what stands for itself in a text, as far as the window goes.
func (s *scanner) ordinary() {
	n := 0
	for n < len(s.window) && s.window[n] >= ' ' && s.window[n] != '"' && s.window[n] != '\\' {
		if utf8.RuneStart(s.window[n]) {
			s.column++
		}
		n++
	}
	s.buf, s.window = append(s.buf, s.window[:n]...), s.window[n:]
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
			s.begin()
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
	s.begin()
	if err := s.value(0); err != nil {
		return nil, s.unfinished(err)
	}
	s.more, s.comma = true, false
	return s.buf, nil
}

func (s *scanner) begin() { s.buf, s.beganLine, s.beganColumn = s.buf[:0], s.line, s.column }

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

// skip goes on to the next record: behind the bracket that closes the broken one, to the next element of the list, or, where the
// broken one is not closed, to a line that begins with a brace where the broken one began or at the margin.
func (s *scanner) skip() error {
	if len(s.buf) == 0 && s.between() {
		return nil
	}
	if s.again += len(s.buf); s.again > maxAgain {
		return fmt.Errorf("%s: too much of it is no JSON: the rest is not read", s.file)
	}
	s.window = append(bytes.Clone(s.buf), s.window...)
	s.line, s.column = s.beganLine, s.beganColumn
	var open []byte // brackets
	quoted, fresh := false, false
	for n := 0; ; n++ {
		s.buf = s.buf[:0]
		c, err := s.peek()
		switch {
		case errors.Is(err, io.EOF):
			s.list = false
			return nil
		case err != nil:
			return err
		case c == '{' && fresh && (s.column == 1 || s.column == s.beganColumn):
			s.more, s.comma = false, false
			return nil
		case s.list && n > 0 && !quoted && len(open) == 0 && (c == ',' || c == ']'):
			s.more, s.comma = true, false
			return nil
		}
		s.take()
		switch {
		case c == '\n':
			quoted, fresh = false, true // no text goes over lines
			continue
		case fresh && (c == ' ' || c == '\t'):
			continue
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			if c, err := s.peek(); err == nil && c != '\n' {
				s.take()
			}
		case quoted:
		case c == '{' || c == '[':
			open = append(open, c)
		case c == '}' || c == ']':
			if i := bytes.LastIndexByte(open, c-2); i >= 0 { // '{' and '[' are two before their counterparts
				open = open[:i]
			}
			if len(open) == 0 {
				s.more, s.comma = s.list, false
				return nil
			}
		}
		fresh = false
	}
}

// between mends what stands between two records: a comma or a bracket too many, a comma that is missing. It tells whether it did.
func (s *scanner) between() bool {
	c, err := s.peek()
	switch {
	case err != nil:
		return false
	case s.list && c == ']', s.list && s.more && (c == '{' || c == '['):
		s.more, s.comma = false, false
	case c == ',':
		s.take()
		s.more, s.comma = false, false
	case c == '}' || c == ']':
		s.take()
	default:
		return false
	}
	return true
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
		s.ordinary()
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
