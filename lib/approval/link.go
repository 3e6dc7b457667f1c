package approval

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Ring holds the keys that links are signed with. JSON of the secret: {"id": "2", "key": "…", "previous": {"id": "1", "key":
// "…"}, "since": time}; previous is optional, and honoured until the last of its links has expired.
type Ring struct {
	ringKey
	Previous *ringKey `json:"previous,omitempty"`
	// Since is when the current key took the previous one's place.
	Since time.Time `json:"since,omitzero"`
}

// linkLife is longer than any link is good for: requests expire within 160 hours, acknowledgements within seven days.
const linkLife = 8 * 24 * time.Hour

// Rotate gives the secret with a new key in the place of the current one, which is honoured from then on as the previous one.
// Errors: BadInput while links of the present previous key may still be out: they would die before their time.
func (r Ring) Rotate(now time.Time) (secret string, err error) {
	if r.Previous != nil && now.Sub(r.Since) < linkLife {
		return "", fault.New(fault.BadInput, "links of the key before this one may still be out: rotate again after %s", r.Since.Add(linkLife).UTC().Format(time.RFC3339))
	}
	return fresh(now, &r.ringKey)
}

// Replace gives a secret with a new key alone: every link, form and sign-in that another key has signed is void. For a key that has
// become known.
func Replace(now time.Time) (secret string, err error) { return fresh(now, nil) }

func fresh(now time.Time, previous *ringKey) (string, error) {
	key := make([]byte, 48)
	rand.Read(key) // never fails (crypto/rand)
	next := struct {
		ID       string    `json:"id"`
		Key      string    `json:"key"`
		Previous *ringKey  `json:"previous,omitempty"`
		Since    time.Time `json:"since"`
	}{now.UTC().Format("20060102T150405Z"), base64.RawURLEncoding.EncodeToString(key), previous, now.UTC()}
	data, err := json.Marshal(next)
	return string(data), err
}

type ringKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// ParseRing reads the secret. Errors: Unreadable; its text never has a key in it.
func ParseRing(secret []byte) (Ring, error) {
	var r Ring
	if err := json.Unmarshal(secret, &r); err != nil {
		return Ring{}, fault.New(fault.Unreadable, "the key of the approval links is not a JSON object with id and key")
	}
	for _, k := range []*ringKey{&r.ringKey, r.Previous} {
		if k != nil && (k.ID == "" || len(k.Key) < 32) {
			return Ring{}, fault.New(fault.Unreadable, "the key of the approval links needs an id and at least 32 characters")
		}
	}
	if r.Previous != nil && r.Previous.ID == r.ID {
		return Ring{}, fault.New(fault.Unreadable, "the key of the approval links and its previous one have the same id %q", r.ID)
	}
	return r, nil
}

// String keeps keys out of logs.
func (r Ring) String() string { return "link keys (current " + r.ID + ")" }

// GoString is String, for %#v.
func (r Ring) GoString() string { return r.String() }

func (r Ring) key(id string) []byte {
	switch {
	case id == r.ID:
		return []byte(r.Key)
	case r.Previous != nil && id == r.Previous.ID:
		return []byte(r.Previous.Key)
	}
	return nil
}

// Link is what a personal link says. It is believed only after Genuine.
type Link struct {
	Incident string
	Number   int
	Approver string
	Expires  time.Time
	KeyID    string
	mac      []byte
	text     string
}

// Link makes the personal link of one approver to one approval: an opaque path segment. It names an approval to whoever has the key,
// and nothing to whom it is forwarded or who reads an address in a log; it is no proof of who follows it.
func (r Ring) Link(a Approval, approver string) string {
	l := Link{Incident: a.Incident, Number: a.Number, Approver: approver, Expires: a.Expires, KeyID: r.ID}
	return r.encode(l, l.sign([]byte(r.Key), a.Hash))
}

func (r Ring) encode(l Link, mac []byte) string {
	claims, _ := json.Marshal([]any{l.Incident, l.Number, l.Approver, l.Expires.Unix(), l.KeyID}) // strings and integers: cannot fail
	// The nonce is made from the claims: the same link always has the same address, and no two links have the same nonce.
	nonce := sign([]byte(r.Key), "firebreak approval link nonce", string(claims))[:nonceSize]
	return base64.RawURLEncoding.EncodeToString(veil(r.Key).Seal(nonce, nonce, claims, nil)) + "." + base64.RawURLEncoding.EncodeToString(mac)
}

const nonceSize = 12

// veil hides what a link says, with a key of its own.
func veil(key string) cipher.AEAD {
	block, err := aes.NewCipher(sign([]byte(key), "firebreak approval link veil")) // 32 bytes: AES-256
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (l Link) sign(key []byte, hash string) []byte {
	return sign(key, "firebreak approval link", l.Incident, fmt.Sprint(l.Number), l.Approver, hash, fmt.Sprint(l.Expires.Unix()), l.KeyID)
}

// sign gives HMAC-SHA256 over the parts, each with its length before it, so that no two lists of parts read alike.
func sign(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// maxLink bounds what is decoded at all.
const maxLink = 1024

// ErrLink says that something is no link that a key of the ring has made.
var ErrLink = errors.New("not a link")

// String gives the link as it came.
func (l Link) String() string { return l.text }

// split gives the two parts of what may be a link.
func split(text string) (veiled, mac []byte, err error) {
	head, tail, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxLink {
		return nil, nil, ErrLink
	}
	if veiled, err = base64.RawURLEncoding.DecodeString(head); err != nil || len(veiled) <= nonceSize {
		return nil, nil, ErrLink
	}
	if mac, err = base64.RawURLEncoding.DecodeString(tail); err != nil {
		return nil, nil, ErrLink
	}
	// One text a link: base64 has several spellings of the same bytes.
	if base64.RawURLEncoding.EncodeToString(veiled)+"."+base64.RawURLEncoding.EncodeToString(mac) != text {
		return nil, nil, ErrLink
	}
	return veiled, mac, nil
}

// Parse reads what a link says, if a key of the ring has made it. For which plan, only Genuine tells. Errors: ErrLink.
func (r Ring) Parse(text string) (Link, error) {
	veiled, mac, err := split(text)
	if err != nil {
		return Link{}, err
	}
	for _, k := range []*ringKey{&r.ringKey, r.Previous} {
		if k == nil {
			continue
		}
		claims, err := veil(k.Key).Open(nil, veiled[:nonceSize], veiled[nonceSize:], nil)
		if err != nil {
			continue
		}
		l, expires := Link{mac: mac, text: text}, int64(0)
		if json.Unmarshal(claims, &[]any{&l.Incident, &l.Number, &l.Approver, &expires, &l.KeyID}) != nil || l.KeyID != k.ID {
			return Link{}, ErrLink
		}
		l.Expires = time.Unix(expires, 0).UTC()
		return l, nil
	}
	return Link{}, ErrLink
}

// Genuine tells whether the link was made by this ring for exactly this approval. It says nothing about its time being over.
func (r Ring) Genuine(l Link, a Approval) bool {
	key := r.key(l.KeyID)
	known := key != nil
	if !known {
		key = []byte(r.Key) // take as long as for a known one
	}
	ok := hmac.Equal(l.mac, l.sign(key, a.Hash))
	return ok && known && l.Incident == a.Incident && l.Number == a.Number && a.Number > 0
}

// nonceLife is how long a shown form can be sent.
const nonceLife = 30 * time.Minute

const nonceRandom = 12

// Nonce makes the one-time value of a form: signed, so that showing the form writes nothing; bound to the link, to who was
// shown the form (a session's id, empty for a link alone), to POST and to a time; used up by the vote that it comes with.
func (r Ring) Nonce(l Link, bearer string, now time.Time) string {
	body := make([]byte, 8+nonceRandom)
	binary.BigEndian.PutUint64(body, uint64(now.Add(nonceLife).Unix()))
	rand.Read(body[8:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(append(body, r.signNonce(l, bearer, body)...))
}

func (r Ring) signNonce(l Link, bearer string, body []byte) []byte {
	key := r.key(l.KeyID)
	if key == nil {
		return nil
	}
	return sign(key, "firebreak approval form", "POST", l.text, bearer, string(body))
}

// Spend checks the nonce of a form that was sent for this link by that bearer, and gives the fingerprint by which it is used
// up.
func (r Ring) Spend(l Link, bearer, nonce string, now time.Time) (fingerprint string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != 8+nonceRandom+sha256.Size || base64.RawURLEncoding.EncodeToString(raw) != nonce {
		return "", false
	}
	body, mac := raw[:8+nonceRandom], raw[8+nonceRandom:]
	if want := r.signNonce(l, bearer, body); want == nil || !hmac.Equal(mac, want) {
		return "", false
	}
	if expires := binary.BigEndian.Uint64(body); uint64(now.Unix()) >= expires {
		return "", false
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), true
}

// Seal signs what is given into somebody else's keeping for a time (a cookie): everybody can read it, nobody can make it. The
// purpose keeps one kind from being taken for another.
func (r Ring) Seal(purpose string, v any, until time.Time) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal a %s: %w", purpose, err)
	}
	body, _ := json.Marshal([]any{r.ID, until.Unix(), string(data)}) // strings and an integer: cannot fail
	return base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(r.Key), "firebreak seal", purpose, string(body))), nil
}

// maxSeal is what a browser keeps of a cookie.
const maxSeal = 4096

// Open reads what Seal made for this purpose into v, before its time is over; false for anything else, and v is not touched.
func (r Ring) Open(purpose, text string, v any, now time.Time) bool {
	head, tail, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxSeal {
		return false
	}
	body, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	mac, err := base64.RawURLEncoding.DecodeString(tail)
	var id, data string
	var until int64
	if err != nil || json.Unmarshal(body, &[]any{&id, &until, &data}) != nil {
		return false
	}
	key := r.key(id)
	if key == nil || !hmac.Equal(mac, sign(key, "firebreak seal", purpose, string(body))) || base64.RawURLEncoding.EncodeToString(mac) != tail || base64.RawURLEncoding.EncodeToString(body) != head {
		return false
	}
	return now.Unix() < until && json.Unmarshal([]byte(data), v) == nil
}

// SecretAPI is the call that reads the keys.
type SecretAPI interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// Keys reads the ring from Secrets Manager and keeps it for five minutes.
type Keys struct {
	api    SecretAPI
	secret string
	now    func() time.Time

	mu   sync.Mutex
	ring Ring
	read time.Time
}

// NewKeys reads the secret of that ARN. now tells when the previous key is no longer honoured.
func NewKeys(api SecretAPI, secret string, now func() time.Time) *Keys {
	return &Keys{api: api, secret: secret, now: now}
}

// FixedKeys always gives that ring. For tests.
func FixedKeys(r Ring) *Keys {
	return &Keys{ring: r, read: time.Now().Add(100 * 365 * 24 * time.Hour)}
}

const keepRing = 5 * time.Minute

// again is how soon the secret is read once more for a link that no key of the ring has made.
const again = 10 * time.Second

// Follow reads a link, and gives the ring that it was read with. Right after a rotation a link may be newer than the ring that is kept:
// then the secret is read again. Errors: ErrLink, and as Read.
func (k *Keys) Follow(ctx context.Context, text string) (Ring, Link, error) {
	if _, _, err := split(text); err != nil {
		return Ring{}, Link{}, err
	}
	r, err := k.Read(ctx)
	if err != nil {
		return r, Link{}, err
	}
	if l, err := r.Parse(text); err == nil {
		return r, l, nil
	}
	k.mu.Lock()
	if since := time.Since(k.read); since > again {
		k.read = time.Time{}
	}
	k.mu.Unlock()
	if r, err = k.Read(ctx); err != nil {
		return r, Link{}, err
	}
	l, err := r.Parse(text)
	return r, l, err
}

// Read gives the ring. Errors: Unreadable, Throttled.
func (k *Keys) Read(ctx context.Context) (Ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.read.IsZero() && time.Since(k.read) < keepRing {
		return k.ring, nil
	}
	out, err := k.api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &k.secret})
	if err != nil {
		name := fault.Unreadable
		if fault.Is(err, fault.Throttled) {
			name = fault.Throttled
		}
		return Ring{}, fault.Wrap(name, err, "read the key of the approval links")
	}
	ring, err := ParseRing([]byte(aws.ToString(out.SecretString)))
	if err != nil {
		return Ring{}, err
	}
	if k.now().Sub(ring.Since) >= linkLife {
		ring.Previous = nil // the last of its links has expired: whoever finds it now makes none
	}
	k.ring, k.read = ring, time.Now()
	return ring, nil
}
