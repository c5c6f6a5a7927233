"""From rows to answers: histories, bars, lists, exports, the events that restore collectors."""
