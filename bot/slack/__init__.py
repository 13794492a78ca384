"""The only room that speaks Slack: listeners, cards, forms, messenger, people, Home."""
