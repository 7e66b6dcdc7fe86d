"""What is drawn: pure functions from run state to lines of styled text, without Textual."""
