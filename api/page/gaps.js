// The gap ledger as a table: messages of a venue that were missed.

import { duration, fromNs, number, recent } from "./formats.js";
import { address } from "./router.js";
import { Table } from "./table.js";

const TONES = { open: "bad", announced: "warn", recovered: "good" };

/** A closed gap has a second report. */
const state = (row) => (row.recovered ? "recovered" : row.announced ? "announced" : "open");

function numbers({ from_sequence: from, to_sequence: to }) {
  if (from === null) return "not known";
  return from === to ? String(from) : `${from} – ${to}`;
}

/** A table of reports of gaps; `all` are those of all instruments, and a row opens its chart. */
export function gapTable(go = null) {
  const names = [
    { name: "instrument", title: "Instrument", left: true, class: "name", value: (row) => row.instrument, text: (row) => row.instrument },
    { name: "venue", title: "Venue", left: true, class: "text wide", value: (row) => row.venue, text: (row) => row.venue },
  ];
  return new Table({
    label: "Gap ledger", key: (row) => `${row.source}|${row.epoch}|${row.sequence}`, sort: "time", descending: true, empty: "No message was missed.",
    search: (row) => `${row.instrument} ${row.venue} ${state(row)}`,
    open: go && ((row) => go(address("market", [row.instrument], { venue: row.venue }))),
    columns: [
      { name: "time", title: "Time", class: "text", value: (row) => row.time_ns, text: (row, now) => recent(fromNs(row.time_ns), now, 1) },
      ...(go ? names : []),
      { name: "numbering", title: "Of", class: "text", text: (row) => row.numbering },
      { name: "numbers", title: "Numbers", class: "mid", text: numbers },
      { name: "missing", title: "Missing", value: (row) => row.missing, text: (row) => number(row.missing), tone: (row) => (row.missing ? "warn" : "") },
      { name: "state", title: "Gap is", left: true, class: "text", value: state, text: state, tone: (row) => TONES[state(row)],
        hint: (row) => (row.from_ns === null || row.to_ns === null ? "" : `${duration((fromNs(row.to_ns) - fromNs(row.from_ns)) / 1000)} between the messages around it`) },
    ],
  });
}
