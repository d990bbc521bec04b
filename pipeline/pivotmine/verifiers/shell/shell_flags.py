"""Flags of known commands: which take values, and which may change places (from GNU's and the tools' manuals).

A flag is written as its names: `x`, `x,long` or `x,other,long`. The first name stands for it everywhere else. A
trailing `=` means that it takes a value, `?` that a value must be attached (`--color=auto`, `-i.bak`).

Flags of one group keep their order, because the later one wins or adds to the earlier one. A repeated flag keeps its
order too. All other flags may come in any order. A command with an unknown flag keeps all its words in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pivotmine.verifiers.shell.shell_words import is_plain, may_be_flag


@dataclass(frozen=True, slots=True)
class Rule:
    flags: str
    """The flags, in the notation of the module."""
    groups: tuple[str, ...] = ()
    """Groups of flags, by first name, whose relative order matters. No flag is in two groups."""
    permutes: bool = True
    """Flags may follow operands, as in GNU getopt."""
    number: str = ""
    """The flag that `-5` stands for as the first word."""
    number_anywhere: bool = False
    """`-5` may be any word, not only the first."""
    keeps_dashes: bool = False
    """`--` separates two kinds of operands, so it is kept."""
    reads_only: bool = False
    """The command only prints, with any of these flags."""


_GIT_LOG = "n,max-count= p,patch oneline stat graph all decorate? author= since= until= grep= format= pretty? name-only name-status follow reverse no-merges no-color"  # noqa: E501

RULES: dict[str, Rule] = {
    "ls": Rule(
        "a,all A,almost-all l 1 C h,human-readable R,recursive r,reverse t S X U i,inode s,size d,directory F p "
        "n,numeric-uid-gid L,dereference color? sort= time-style= full-time group-directories-first I,ignore=",
        ("a A", "l 1 C n full-time time-style", "t S X U sort", "F p"),
        reads_only=True,
    ),
    "cat": Rule(
        "n,number b,number-nonblank s,squeeze-blank E,show-ends T,show-tabs A,show-all v,show-nonprinting",
        reads_only=True,
    ),
    "head": Rule("n,lines= c,bytes= q,quiet,silent v,verbose", ("n c", "q v"), number="n", reads_only=True),
    "tail": Rule("n,lines= c,bytes= f F q,quiet,silent v,verbose", ("n c", "q v", "f F"), number="n", reads_only=True),
    "wc": Rule("l,lines w,words c,bytes m,chars L,max-line-length", reads_only=True),
    "grep": Rule(
        "i,ignore-case v,invert-match w,word-regexp x,line-regexp c,count l,files-with-matches "
        "L,files-without-match n,line-number H,with-filename h,no-filename o,only-matching q,quiet,silent "
        "s,no-messages r,recursive R,dereference-recursive E,extended-regexp F,fixed-strings G,basic-regexp "
        "P,perl-regexp e,regexp= f,file= m,max-count= A,after-context= B,before-context= C,context= a,text I "
        "include= exclude= exclude-dir= color? b,byte-offset z,null-data Z,null",
        ("E F G P", "H h", "l L c q", "r R", "e f", "a I", "include exclude exclude-dir"),
        number="C",
        number_anywhere=True,
        reads_only=True,
    ),
    "rg": Rule(
        "i,ignore-case S,smart-case s,case-sensitive n,line-number N,no-line-number l,files-with-matches c,count "
        "w,word-regexp F,fixed-strings o,only-matching v,invert-match g,glob= t,type= T,type-not= A,after-context= "
        "B,before-context= C,context= e,regexp= m,max-count= hidden no-ignore",
        ("i S s", "n N", "g t T", "A B C", "l c"),
        reads_only=True,
    ),
    "sort": Rule(
        "r,reverse n,numeric-sort u,unique h,human-numeric-sort k,key= t,field-separator= f,ignore-case "
        "b,ignore-leading-blanks d,dictionary-order i,ignore-nonprinting V,version-sort s,stable o,output="
    ),
    "uniq": Rule("c,count d,repeated u,unique i,ignore-case f,skip-fields= s,skip-chars= w,check-chars="),
    "cut": Rule("d,delimiter= f,fields= c,characters= b,bytes= s,only-delimited complement output-delimiter="),
    "tr": Rule("c,C,complement d,delete s,squeeze-repeats t,truncate-set1", permutes=False),
    "seq": Rule("s,separator= w,equal-width f,format=", permutes=False),
    "sed": Rule("n,quiet,silent e,expression= E,r,regexp-extended f,file= i,in-place? s,separate", ("e f", "i s")),
    "awk": Rule("F,field-separator= v,assign= f,file=", permutes=False),
    "diff": Rule("u r,recursive q,brief i,ignore-case w,ignore-all-space b,ignore-space-change B,ignore-blank-lines "
                 "N,new-file y,side-by-side", ("u q y",), reads_only=True),
    "tee": Rule("a,append"),
    "mkdir": Rule("p,parents v,verbose m,mode="),
    "rmdir": Rule("p,parents v,verbose"),
    "rm": Rule("r,R,recursive f,force i I v,verbose d,dir", ("f i I",)),
    "cp": Rule("r,R,recursive a,archive f,force i,interactive n,no-clobber p u v,verbose t,target-directory= "
               "T,no-target-directory L,dereference P,no-dereference d", ("a d p P L", "f i n u")),
    "mv": Rule("f,force i,interactive n,no-clobber u v,verbose t,target-directory= T,no-target-directory",
               ("f i n u",)),
    "ln": Rule("s,symbolic f,force i,interactive n,no-dereference v,verbose r,relative", ("f i",)),
    "touch": Rule("a c,no-create m d,date= r,reference= t=", ("d r t",)),
    "chmod": Rule("R,recursive v,verbose c,changes f,silent,quiet", ("v c f",)),
    "chown": Rule("R,recursive v,verbose c,changes f,silent,quiet", ("v c f",)),
    "du": Rule("s,summarize h,human-readable a,all c,total d,max-depth= k m x,one-file-system", ("h k m",),
               reads_only=True),
    "df": Rule("h,human-readable H,si T,print-type i,inodes a,all k P,portability l,local t,type=", ("h H k P",),
               reads_only=True),
    "ps": Rule("e,A f F l o,format= p,pid= C= sort= forest no-headers", ("f F l o",), reads_only=True),
    "stat": Rule("c,format= L,dereference f,file-system t,terse", ("c t",), reads_only=True),
    "file": Rule("b,brief i,mime L,dereference", reads_only=True),
    "which": Rule("a", reads_only=True),
    "tree": Rule("a d f p s h L= I= P=", ("s h",), reads_only=True),
    "cal": Rule("1 3 y j", ("1 3 y",), reads_only=True),
    "ping": Rule("c= i= W= w= s= q n 4 6", ("4 6",)),
    "curl": Rule(
        "s,silent S,show-error L,location f,fail o,output= O,remote-name X,request= H,header= d,data= I,head "
        "k,insecure v,verbose u,user= A,user-agent= m,max-time=",
        ("o O",),
    ),
    "wget": Rule("q,quiet O,output-document= c,continue P,directory-prefix="),
    "pip install": Rule("U,upgrade q,quiet user no-deps no-cache-dir pre i,index-url="),
    "apt-get install": Rule("y,yes,assume-yes no-install-recommends reinstall"),
    "apt install": Rule("y,yes,assume-yes no-install-recommends reinstall"),
    "pytest": Rule("x,exitfirst q,quiet v,verbose s k= m= tb= maxfail= n,numprocesses=", ("x maxfail", "q v")),
    "git status": Rule("s,short b,branch", keeps_dashes=True, reads_only=True),
    "git log": Rule(_GIT_LOG, ("oneline format pretty", "p stat name-only name-status"), number="n",
                    number_anywhere=True, keeps_dashes=True, reads_only=True),
    "git diff": Rule("cached,staged stat name-only name-status w,ignore-all-space U,unified= no-color",
                     ("stat name-only name-status U",), keeps_dashes=True, reads_only=True),
    "git add": Rule("A,all u,update p,patch v,verbose n,dry-run f,force", ("A u",), keeps_dashes=True),
    "git commit": Rule("m,message= a,all amend no-edit n,no-verify q,quiet s,signoff v,verbose allow-empty author=",
                       keeps_dashes=True),
    "git push": Rule("u,set-upstream f,force q,quiet tags", keeps_dashes=True),
}  # fmt: skip
RULES["egrep"] = RULES["fgrep"] = RULES["grep"]
RULES["pip3 install"] = RULES["pip install"]
RULES["gawk"] = RULES["mawk"] = RULES["awk"]


class _Flag(NamedTuple):
    name: str
    """The first of its names."""
    value: str
    """"", "=" or "?"."""
    group: str


class Arguments(NamedTuple):
    flags: tuple[tuple[str, str | None], ...]
    """First name and value; sorted by group, in the written order within a group."""
    operands: tuple[str, ...]


def _group(rule: Rule, name: str) -> str:
    return next((group for group in rule.groups if name in group.split()), name)


@lru_cache
def _flags(command: str) -> dict[str, _Flag]:
    """The flags of a command by each of their names: "-x", "--long"."""
    rule = RULES[command]
    found: dict[str, _Flag] = {}
    for word in rule.flags.split():
        names = word.rstrip("=?").split(",")
        flag = _Flag(names[0], word[len(word.rstrip("=?")) :], _group(rule, names[0]))
        found.update({f"-{name}" if len(name) == 1 else f"--{name}": flag for name in names})
    return found


def arguments(command: str, words: Sequence[str]) -> Arguments | None:
    """Split the word forms of a command in RULES into flags and operands; None if their order may matter."""
    rule, known = RULES[command], _flags(command)
    flags: list[tuple[_Flag, str | None]] = []
    operands: list[str] = []
    pending = list(reversed(words))
    opaque = False  # an operand may expand to a flag: no flag may move across it
    while pending:
        first = len(pending) == len(words)
        word = pending.pop()
        if word == "--":
            operands += [*(["--"] if rule.keeps_dashes else []), *reversed(pending)]
            break
        if word == "-" or not word.startswith("-"):
            operands.append(word)
            opaque = opaque or may_be_flag(word)
            if not rule.permutes and not opaque:
                operands += reversed(pending)
                break
            continue
        read = None if opaque else _read_number(rule, word, first) or _read_flag(word, known, pending)
        if read is None:
            return None
        flags += read
    flags.sort(key=lambda pair: pair[0].group)
    return Arguments(tuple([(flag.name, value) for flag, value in flags]), tuple(operands))


def _read_number(rule: Rule, word: str, first: bool) -> list[tuple[_Flag, str | None]] | None:  # noqa: FBT001
    if not rule.number or not (first or rule.number_anywhere) or not re.fullmatch("-[0-9]+", word):
        return None
    return [(_Flag(rule.number, "=", _group(rule, rule.number)), word[1:])]


def _read_flag(word: str, known: dict[str, _Flag], pending: list[str]) -> list[tuple[_Flag, str | None]] | None:
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        flag = known.get(name)
        if flag is None or (equals and not flag.value):
            return None
        if flag.value != "=" or equals:
            return [(flag, value if equals else None)]
        return _with_next(flag, pending)
    return _read_cluster(word[1:], known, pending)


def _read_cluster(letters: str, known: dict[str, _Flag], pending: list[str]) -> list[tuple[_Flag, str | None]] | None:
    found: list[tuple[_Flag, str | None]] = []
    for place, letter in enumerate(letters):
        flag = known.get(f"-{letter}")
        if flag is None:
            return None
        rest = letters[place + 1 :]
        if flag.value and (rest or flag.value == "?"):
            return [*found, (flag, rest or None)]
        if flag.value:
            last = _with_next(flag, pending)
            return None if last is None else found + last
        found.append((flag, None))
    return found


def _with_next(flag: _Flag, pending: list[str]) -> list[tuple[_Flag, str | None]] | None:
    if not pending or not is_plain(pending[-1]):
        return None
    return [(flag, pending.pop())]
