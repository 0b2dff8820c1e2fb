package ldirectord

func (r *reader) lint() {}
