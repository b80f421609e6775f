"""What `latedge bench` measures, and the one form in which every result is kept (`results`)."""
