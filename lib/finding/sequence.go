package finding

import "strings"

// sequence adds the resources that an attack sequence names. They lie under service.detection.sequence, up to 400 of them; the
// finding itself has none (GuardDuty API Reference, Sequence, ResourceV2, Actor).
func (f *Finding) sequence(s tree) {
	for _, r := range s.items("resources") {
		f.sequenceResource(r)
	}
	for _, a := range s.items("actors") {
		u := a.object("user")
		if u == nil {
			continue
		}
		key := u.text("credentialUid")
		f.credential(tree{"userName": u.text("name"), "userType": u.text("type"), "principalId": u.text("uid"), "accessKeyId": key}, u.digits("account", "uid"), Actor)
	}
}

func (f *Finding) sequenceResource(r tree) {
	k, uid := kindNamed(r.text("resourceType")), r.text("uid")
	owner := r.digits("accountId")
	if k == AccessKey {
		data := r.object("data", "accessKey")
		id := r.text("name")
		if longTermKey.MatchString(uid) || sessionKey.MatchString(uid) {
			id = uid
		}
		f.credential(tree{"userName": data.text("userName"), "userType": data.text("userType"), "principalId": data.text("principalId"), "accessKeyId": id}, owner, "")
		return
	}
	given := uid
	if given == "" || !strings.HasPrefix(given, "arn:") && r.text("name") != "" && k == Bucket {
		given = r.text("name")
	}
	res := f.placed(owner, r.text("region"), f.named(k, given))
	res.Tags = tagsOf(r.at("tags"))
	f.add(res)
}

// credential adds the user or role behind a key.
func (f *Finding) credential(k tree, owner string, part Part) {
	if owner != "" && owner != f.Account {
		return
	}
	p := principal(*f, k)
	if f.Principal.Kind == "" || f.Principal.Kind == WhoOther {
		f.Principal = p
	}
	for _, r := range f.identities(p) {
		r.Part = part
		f.add(r)
	}
}
