package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// The __Host- prefix makes browsers refuse them from any other host, and without TLS.
const (
	sessionCookie = "__Host-firebreak"
	pendingCookie = "__Host-firebreak-signin"
)

const (
	sessionLife = 30 * time.Minute
	pendingLife = 10 * time.Minute
)

// pending is a sign-in that has begun: where, what its answer must fit, and the link to go back to.
type pending struct {
	Issuer   string `json:"issuer"`
	Client   string `json:"client"`
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Link     string `json:"link"`
}

// signIn signs approvers in with the installation's OpenID Connect issuer: authorization code with PKCE (RFC 7636), the state
// and the nonce in a signed cookie. It writes nothing anywhere but in the person's own browser.
type signIn struct {
	secrets approval.SecretAPI
	// base is the address of this API: the issuer has <base>/signin/callback as the redirect address.
	base   string
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	provider *oidc.Provider
	of       setting.SignIn
	secret   string
	read     time.Time
}

// keepIssuer is how long an issuer's metadata and the client's secret are kept; its keys are read again when they change.
const keepIssuer = 10 * time.Minute

func newSignIn(secrets approval.SecretAPI, base string, now func() time.Time) *signIn {
	return &signIn{secrets: secrets, base: strings.TrimRight(base, "/"), now: now, client: &http.Client{Timeout: 5 * time.Second}}
}

// issuer gives the issuer's client. The errors name no secret.
func (s *signIn) issuer(ctx context.Context, set setting.SignIn) (*oidc.Provider, *oauth2.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.provider == nil || s.of != set || s.now().Sub(s.read) > keepIssuer {
		provider, err := oidc.NewProvider(oidc.ClientContext(ctx, s.client), set.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("read the configuration of the issuer %s: %w", set.Issuer, err)
		}
		secret := ""
		if set.SecretARN != "" {
			out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &set.SecretARN})
			if err != nil {
				return nil, nil, fmt.Errorf("read the secret of the sign-in: %w", err)
			}
			secret = aws.ToString(out.SecretString)
		}
		s.provider, s.of, s.secret, s.read = provider, set, secret, s.now()
	}
	return s.provider, &oauth2.Config{
		ClientID: set.ClientID, ClientSecret: s.secret, Endpoint: s.provider.Endpoint(), RedirectURL: s.base + "/signin/callback", Scopes: []string{oidc.ScopeOpenID},
	}, nil
}

// signin leads to the issuer, or takes its answer.
func (h handler) signin(ctx context.Context, req request, p pages) (response, error) {
	segment := strings.TrimPrefix(req.RawPath, "/signin/")
	if segment == "callback" {
		return h.signedIn(ctx, req, p)
	}
	v, res, err := h.follow(ctx, segment, p)
	if err != nil || res != nil {
		return deref(res), err
	}
	set := v.installed.SignIn
	if !set.On() {
		return p.message(http.StatusNotFound, "wrong"), nil
	}
	if req.RequestContext.HTTP.Method == http.MethodHead {
		return p.message(http.StatusOK, "wrong"), nil
	}
	_, config, err := h.door.issuer(ctx, set)
	if err != nil {
		slog.ErrorContext(ctx, "nobody can sign in", "error", err.Error())
		return p.message(http.StatusBadGateway, "signin.down"), nil
	}
	begun := pending{Issuer: set.Issuer, Client: set.ClientID, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Link: segment}
	sealed, err := v.ring.Seal(pendingCookie, begun, v.now.Add(pendingLife))
	if err != nil {
		return response{}, err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(begun.Nonce), oauth2.S256ChallengeOption(begun.Verifier)}
	if _, there := cookie(req, sessionCookie); there {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login")) // as somebody else, or again
	}
	to := p.message(http.StatusSeeOther, "signin.go")
	to.Headers["location"] = config.AuthCodeURL(begun.State, options...)
	to.Cookies = []string{setCookie(pendingCookie, sealed, int(pendingLife.Seconds()))}
	return to, nil
}

// signedIn takes the issuer's answer: it fits the sign-in that this browser began, and the token is the issuer's own word
// about who it is, made for us, now, for this sign-in.
func (h handler) signedIn(ctx context.Context, req request, p pages) (response, error) {
	failed := func(why string, args ...any) (response, error) {
		slog.WarnContext(ctx, "refused a sign-in", "why", fmt.Sprintf(why, args...))
		res := p.message(http.StatusForbidden, "signin.failed")
		res.Cookies = []string{setCookie(pendingCookie, "", 0)}
		return res, nil
	}
	if req.RequestContext.HTTP.Method != http.MethodGet {
		return p.message(http.StatusOK, "wrong"), nil
	}
	ring, err := h.keys.Read(ctx)
	if err != nil {
		return response{}, err
	}
	installed, err := h.inst.Read(ctx)
	if err != nil {
		return response{}, err
	}
	query, err := url.ParseQuery(req.RawQueryString)
	var begun pending
	text, ok := cookie(req, pendingCookie)
	now := h.now().UTC()
	switch {
	case !installed.SignIn.On():
		return failed("no issuer is set")
	case err != nil || len(query["state"]) != 1 || len(query["code"]) > 1:
		return failed("its answer cannot be read")
	case !ok || !ring.Open(pendingCookie, text, &begun, now):
		return failed("this browser has begun none, or too long ago")
	case subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(begun.State)) != 1:
		return failed("it answers another one")
	case begun.Issuer != installed.SignIn.Issuer || begun.Client != installed.SignIn.ClientID:
		return failed("it was begun with the issuer %q, which is not the installation's any more", begun.Issuer)
	case query.Has("iss") && (len(query["iss"]) != 1 || query.Get("iss") != begun.Issuer): // RFC 9207
		return failed("another issuer answers: %q", short(query.Get("iss")))
	case query.Get("code") == "":
		return failed("the issuer says %q", short(query.Get("error")))
	}
	provider, config, err := h.door.issuer(ctx, installed.SignIn)
	if err != nil {
		slog.ErrorContext(ctx, "nobody can sign in", "error", err.Error())
		return p.message(http.StatusBadGateway, "signin.down"), nil
	}
	client := oidc.ClientContext(ctx, h.door.client)
	token, err := config.Exchange(client, query.Get("code"), oauth2.VerifierOption(begun.Verifier))
	if err != nil {
		return failed("the issuer does not take the code: %s", short(err.Error()))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.VerifierContext(client, &oidc.Config{ClientID: installed.SignIn.ClientID, Now: h.now}).Verify(client, raw)
	if err != nil {
		return failed("its token is not one: %s", short(err.Error()))
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(begun.Nonce)) != 1 {
		return failed("its token was made for another sign-in")
	}
	// The library leaves this to us (OpenID Connect Core 3.1.3.7, 4 and 5).
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := id.Claims(&party); err != nil || party.Authorized != installed.SignIn.ClientID && (party.Authorized != "" || len(id.Audience) > 1) {
		return failed("its token was made for another client, %q", short(party.Authorized))
	}
	if _, known := approval.Subject(installed, id.Subject); !known {
		slog.WarnContext(ctx, "refused a sign-in", "why", "the subject is no approver's", "subject", short(id.Subject))
		res := p.message(http.StatusForbidden, "signin.unknown")
		res.Cookies = []string{setCookie(pendingCookie, "", 0)}
		return res, nil
	}
	sealed, err := ring.Seal(sessionCookie, session{Issuer: installed.SignIn.Issuer, Client: installed.SignIn.ClientID, Subject: id.Subject, ID: rand.Text()}, now.Add(sessionLife))
	if err != nil {
		return response{}, err
	}
	back := p.message(http.StatusSeeOther, "signin.go")
	back.Headers["location"] = "../approve/" + url.PathEscape(begun.Link)
	back.Cookies = []string{setCookie(sessionCookie, sealed, int(sessionLife.Seconds())), setCookie(pendingCookie, "", 0)}
	return back, nil
}

// short keeps a word of elsewhere fit for a log line.
func short(s string) string {
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return s
}
