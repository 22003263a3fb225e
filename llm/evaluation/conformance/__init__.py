"""Checks of the trainer on a model: its numbers beside those of transformers, PEFT and the tokenizer."""
