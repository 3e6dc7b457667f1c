// Package issuer is an OpenID Connect issuer for the local platform and for tests: it signs anybody in who says who they are.
// Discovery, keys and signatures are go-oidc's own test server; the authorization code flow with PKCE is added here.
package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// Issuer serves one client. Set its fields before serving, URL to where it is served.
type Issuer struct {
	URL, ClientID string
	// Secret is the client's; empty for a public client.
	Secret string
	// Redirect is the only address that codes are sent to.
	Redirect string
	// People are the subjects that can sign in.
	People []string
	Now    func() time.Time
	// Claims may change an id token's claims before it is signed; Sign, where set, signs in place of the issuer's key.
	Claims func(map[string]any)
	Sign   func(claims string) string

	key    *rsa.PrivateKey
	server *oidctest.Server
	mu     sync.Mutex
	codes  map[string]grant
}

// grant is what a code stands for.
type grant struct{ subject, nonce, challenge string }

const keyID = "local-1"

// New makes an issuer with a key of its own.
func New(client string, people ...string) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &Issuer{
		ClientID: client, People: people, Now: time.Now, key: key, codes: map[string]grant{},
		server: &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: keyID, Algorithm: oidc.RS256}}},
	}, nil
}

// ServeHTTP is the issuer.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/auth":
		i.authorize(w, r)
	case "/token":
		i.token(w, r)
	default:
		i.mu.Lock()
		i.server.SetIssuer(i.URL)
		i.mu.Unlock()
		i.server.ServeHTTP(w, r)
	}
}

var choice = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Local sign-in</title><h1>Who are you?</h1><ul>{{range .}}<li><a id="{{.Name}}" href="{{.To}}">{{.Name}}</a></li>{{end}}</ul></html>`))

// authorize asks who it is, or, with the parameter as, takes that for the answer, and goes back with a code.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != i.ClientID || q.Get("redirect_uri") != i.Redirect || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("state") == "" {
		http.Error(w, "not a request of our client with PKCE", http.StatusBadRequest)
		return
	}
	as := q.Get("as")
	if as == "" {
		type person struct{ Name, To string }
		var people []person
		for _, name := range i.People {
			q.Set("as", name)
			people = append(people, person{name, "/auth?" + q.Encode()})
		}
		w.Header().Set("content-type", "text/html; charset=utf-8")
		choice.Execute(w, people)
		return
	}
	if !slices.Contains(i.People, as) {
		http.Redirect(w, r, i.Redirect+"?"+url.Values{"state": {q.Get("state")}, "error": {"access_denied"}}.Encode(), http.StatusFound)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = grant{as, q.Get("nonce"), q.Get("code_challenge")}
	i.mu.Unlock()
	http.Redirect(w, r, i.Redirect+"?"+url.Values{"state": {q.Get("state")}, "code": {code}}.Encode(), http.StatusFound)
}

// token gives an id token for a code, once, to whoever has the verifier of its challenge.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	code := r.PostFormValue("code")
	i.mu.Lock()
	g, ok := i.codes[code]
	delete(i.codes, code)
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret) // RFC 6749, 2.3.1: both are encoded before they go into the header
	if id == "" {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	w.Header().Set("content-type", "application/json")
	if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge || r.PostFormValue("redirect_uri") != i.Redirect || r.PostFormValue("grant_type") != "authorization_code" || id != i.ClientID || secret != i.Secret {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	claims := map[string]any{"iss": i.URL, "aud": i.ClientID, "sub": g.subject, "nonce": g.nonce, "iat": i.Now().Unix(), "exp": i.Now().Add(5 * time.Minute).Unix()}
	if i.Claims != nil {
		i.Claims(claims)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	token := ""
	if i.Sign != nil {
		token = i.Sign(string(text))
	} else {
		token = oidctest.SignIDToken(i.key, keyID, oidc.RS256, string(text))
	}
	json.NewEncoder(w).Encode(map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": token})
}
