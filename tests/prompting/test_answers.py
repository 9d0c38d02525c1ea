"""Answers: what models say is read as said, and a failure is a value with a reason."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpro.prompting import answers
from numpro.prompting.answers import parse_highlights, parse_moment
from numpro.prompting.prompts import HIGHLIGHTS

F, S, P = "frame", "second", "percent"
ONE = ((3, 7),)

SAID = {
    # what the prompt asks for
    "asked": ("From Frame 3 to Frame 7", ONE, F),
    "asked-2024": ("from 3 to 7", ONE, None),
    "lower-case": ("from frame 3 to frame 7.", ONE, F),
    "other-nouns": ("From Page 3 to Panel 7", ONE, F),
    "seconds": ("From 3.0 seconds to 7.5 seconds.", ((3.0, 7.5),), S),
    # short forms
    "dash": ("frames 3-7", ONE, F),
    "bare": ("3 to 7", ONE, None),
    "letters": ("F3-F7", ONE, F),
    "short-seconds": ("3s-7s", ONE, S),
    "timechat": ("10.0 - 25.0 seconds", ((10.0, 25.0),), S),
    "comma": ("3, 7", ONE, None),
    "underscore": ("frame_3 to frame_7", ONE, F),
    "bold": ("**Frame 3** to **Frame 7**", ONE, F),
    "glued": ("from3to7", ONE, None),
    "dots": ("3...7", ONE, None),
    "arrow": ("3 → 7", ONE, None),
    "tilde": ("3~7", ONE, None),
    "en-dash": ("3–7", ONE, None),
    "full-width": ("From Frame ３ to Frame ７", ONE, F),
    "tagged-times": ("<3.0 seconds> to <7.0 seconds>", ONE, S),
    "ordinal": ("the 3rd to the 7th frame", ONE, F),
    "two-digit": ("from 03 and 07", ONE, None),
    "between": ("between frames 3 and 7", ONE, F),
    "and": ("frames 3 and 7", ONE, F),
    "total": ("Frame 3 to Frame 7 of 16", ONE, F),
    "decimals": ("From Frame 2.5 to Frame 7.25", ((2.5, 7.25),), F),
    "reversed": ("frame 7 to frame 3", ONE, F),
    "outside": ("From Frame 200 to Frame 300", ((200, 300),), F),
    # sentences
    "starts-ends": ("It starts at frame 3 and ends at frame 7.", ONE, F),
    "appears": ("The star appears at frame 3 and disappears at frame 7", ONE, F),
    "count": ("The video has 16 frames. It appears from frame 3 to frame 7.", ONE, F),
    "asked-first": ("It shows frames 0-15. See it from frame 3 to 7.", ((3, 7), (0, 15)), F),
    "both-units": ("From frame 3 to frame 7 (6.0s - 14.0s)", ONE, F),
    "people": ("2-3 people are seen from frame 3 to frame 7", ONE, F),
    "not-until": ("It does not appear before that, but from frame 3 to frame 7", ONE, F),
    # one frame
    "one": ("Frame 5", ((5, 5),), F),
    "only-a-number": ("5", ((5, 5),), None),
    "at-seconds": ("at 12.5 seconds", ((12.5, 12.5),), S),
    "ordinal-one": ("5th frame", ((5, 5),), F),
    # clocks
    "clock": ("00:03 - 00:07", ONE, S),
    "hours": ("01:02:03 to 01:02:10.5", ((3723.0, 3730.5),), S),
    "srt": ("00:00:03,000 --> 00:00:07,500", ((3.0, 7.5),), S),
    "clock-list": ("[00:03,00:07]", ONE, S),
    "minutes": ("1 min 5 s to 1 min 30 s", ((65, 90),), S),
    "minutes-glued": ("1m05s-1m30s", ((65, 90),), S),
    "one-clock": ("At 0:05", ((5, 5),), S),
    "seconds-unsaid": ("from 1 minute 4 seconds to 1 minute 10", ((64, 70),), S),
    "seconds-unsaid-twice": ("between 1 minute 5 and 1 minute 30.", ((65, 90),), S),
    "hour-word": ("from 1 hour to 1 hour and 2 minutes", ((3600, 3720),), S),
    # percent
    "percent-sign": ("from 20% to 50%", ((20, 50),), P),
    "percent-word": ("From 20 to 50 percent", ((20, 50),), P),
    # languages
    "chinese": ("从第3帧到第7帧", ONE, F),
    "chinese-seconds": ("3秒到7秒", ONE, S),
    "chinese-between": ("在3秒和7秒之间", ONE, S),
    "japanese": ("フレーム3からフレーム7まで", ONE, F),
    "korean": ("3초부터 7초까지", ONE, S),
    "french": ("de la frame 3 à la frame 7", ONE, F),
    "german": ("von Frame 3 bis Frame 7", ONE, F),
    "german-comma": ("von 3,5 s bis 7,2 s", ((3.5, 7.2),), S),
    "spanish": ("del fotograma 3 al fotograma 7", ONE, F),
    "russian": ("с кадра 3 по кадр 7", ONE, F),
    "arabic-digits": ("from ٣ to ٧", ONE, None),
    # JSON
    "json": ('{"start": 3, "end": 7}', ONE, None),
    "json-reversed": ('{"end": 7, "start": 3}', ONE, None),
    "json-clock": ('{"start_time": "00:03", "end_time": "00:07"}', ONE, S),
    "json-fenced": ('```json\n{"start_frame": 3,\n "end_frame": 7}\n```', ONE, F),
    "json-several": (
        '[{"start_time": 3.0, "end_time": 7.5}, {"start_time": 10, "end_time": 12}]',
        ((3.0, 7.5), (10, 12)),
        S,
    ),
    "json-open": ('{"start": 3, "end": null}', ((3, None),), None),
    "json-frames": ('{"frames": [3, 4, 5, 6]}', ((3, 6),), F),
    "list": ("[3, 7]", ONE, None),
    "lists": ("[[3, 7], [10, 12]]", ((3, 7), (10, 12)), None),
    "list-confidence": ("[[3.0, 7.5, 0.98]]", ((3.0, 7.5),), None),
    # several
    "several": ("From frame 3 to 7 and from frame 10 to 12", ((3, 7), (10, 12)), F),
    "several-and-one": ("frames 3-7, 10-12 and 14", ((3, 7), (10, 12), (14, 14)), F),
    "numbered": ("1. From frame 3 to 7\n2. From frame 10 to 12", ((3, 7), (10, 12)), F),
    "repeated": ("From Frame 3 to Frame 7. From Frame 3 to Frame 7.", ONE, F),
    "frames-listed": ("frames 3, 4, 5, 9, 10", ((3, 5), (9, 10)), F),
    "frames-stride": ("frames 0, 2, 4, 6", ((0, 6),), F),
    "frames-named": ("Frame 3, Frame 4, Frame 5", ((3, 5),), F),
    # open ends
    "onwards": ("from frame 3 onwards", ((3, None),), F),
    "to-the-end": ("from frame 3 to the end of the video", ((3, None),), F),
    "until-the-end": ("From frame 3 until the end.", ((3, None),), F),
    "starting": ("starting from frame 3", ((3, None),), F),
    "cut-off": ("From Frame 3 to Frame", ((3, None),), F),
    "from-the-start": ("From the beginning to frame 7", ((0, 7),), F),
    "until": ("until frame 7", ((0, 7),), F),
    "throughout": ("The star is visible throughout the video.", ((0, None),), None),
    # where the answer stands
    "thinking": ("<think>maybe 1 to 2</think> From Frame 3 to Frame 7", ONE, F),
    "thinking-unopened": ("maybe 1 to 2</think>From Frame 3 to Frame 7", ONE, F),
    "answer-tag": ("Looks like 1 to 2. <answer>3 to 7</answer>", ONE, None),
    "answer-is": ("First 1 to 2... The answer is: frames 3 to 7", ONE, F),
    "boxed": ("\\boxed{3, 7}", ONE, None),
    "echo": (
        "During which frames can we see 1 to 2 dogs? Answer in the format: "
        "'From Frame x to Frame y'. From Frame 3 to Frame 7",
        ONE,
        F,
    ),
    # more of each: digits, dashes, languages, JSON, clocks, percent, one, open, where it stands
    "fw-digits-seconds": ("３秒から７秒まで", ONE, S),
    "fw-colon": ("００：０３－００：０７", ONE, S),
    "minus-sign": ("3−7", ONE, None),
    "em-dash": ("Frame 3 — Frame 7", ONE, F),
    "em-dash2": ("frames 3—7", ONE, F),
    "figure-dash": ("3‒7", ONE, None),
    "horizontal-bar": ("3―7", ONE, None),
    "wave": ("3〜7秒", ONE, S),
    "fw-tilde": ("3～7秒", ONE, S),
    "double-hyphen": ("3--7", ONE, None),
    "nbsp": ("From\xa0Frame\xa03\xa0to\xa0Frame\xa07", ONE, F),
    "devanagari": ("from ३ to ७", ONE, None),
    "persian": ("from ۳ to ۷", ONE, None),
    "italian": ("dal fotogramma 3 al fotogramma 7", ONE, F),
    "portuguese": ("do quadro 3 ao quadro 7", ONE, F),
    "portuguese2": ("de 3 a 7 segundos", ONE, S),
    "french-img": ("de l'image 3 à l'image 7", ONE, F),
    "french-entre": ("entre 3 et 7 secondes", ONE, S),
    "german-zw": ("zwischen Frame 3 und 7", ONE, F),
    "german-bild": ("von Bild 3 bis Bild 7", ONE, F),
    "german-sek": ("von Sekunde 3 bis Sekunde 7", ONE, S),
    "spanish-desde": ("desde el fotograma 3 hasta el 7", ONE, F),
    "spanish-entre": ("entre los segundos 3 y 7", ONE, S),
    "russian-ot": ("от 3 до 7 секунд", ONE, S),
    "russian-kadry": ("кадры 3–7", ONE, F),
    "korean-frame": ("프레임 3부터 프레임 7까지", ONE, F),
    "korean-frame2": ("3번 프레임부터 7번 프레임까지", ONE, F),
    "korean-eseo": ("3초에서 7초 사이", ONE, S),
    "japanese-byou": ("3秒から7秒", ONE, S),
    "japanese-frame2": ("フレーム3～7", ONE, F),
    "japanese-dai": ("第3フレームから第7フレーム", ONE, F),
    "chinese-zhi": ("第3帧至第7帧", ONE, F),
    "chinese-nums": ("第3到7帧", ONE, F),
    "chinese-from-sec": ("从第3秒到第7秒", ONE, S),
    "chinese-and": ("第3帧和第7帧之间", ONE, F),
    "chinese-min": ("1分5秒到1分30秒", ((65, 90),), S),
    "chinese-answer": ("答案：从第3帧到第7帧", ONE, F),
    "vietnamese": ("từ khung hình 3 đến khung hình 7", ONE, F),
    "indonesian": ("dari frame 3 sampai frame 7", ONE, F),
    "arabic": ("من الإطار 3 إلى الإطار 7", ONE, F),
    "hindi": ("फ्रेम 3 से फ्रेम 7 तक", ONE, F),
    "polish": ("od klatki 3 do klatki 7", ONE, F),
    "dutch": ("van frame 3 tot frame 7", ONE, F),
    "dutch2": ("van frame 3 tot en met frame 7", ONE, F),
    "thru": ("frames 3 thru 7", ONE, F),
    "inclusive": ("Frames 3 to 7 (inclusive)", ONE, F),
    "frame-hash": ("Frame #3 - Frame #7", ONE, F),
    "start-colon": ("Start: 3\nEnd: 7", ONE, None),
    "start-frame-colon": ("Start Frame: 3, End Frame: 7", ONE, F),
    "start-eq": ("start=3.0s, end=7.0s", ONE, S),
    "xml": ("<start>3</start><end>7</end>", ONE, None),
    "xml2": ("<time>3.0</time> to <time>7.0</time>", ONE, S),
    "yaml": ("start: 00:03\nend: 00:07", ONE, S),
    "json-span": ('{"span": [3, 7]}', ONE, None),
    "json-timestamps": ('{"timestamps": [[3.0, 7.5]]}', ((3.0, 7.5),), S),
    "json-ts-str": ('{"timestamp": "3.0 - 7.5"}', ((3.0, 7.5),), S),
    "json-from-to": ('{"from": 3, "to": 7}', ONE, None),
    "json-frame-range": ('{"frame_range": [3, 7]}', ONE, None),
    "json-startend-sec": ('{"start_sec": 3.0, "end_sec": 7.0}', ONE, S),
    "json-strs": ('{"start": "3s", "end": "7s"}', ONE, S),
    "json-label": ('[{"label": "a star", "start": 3, "end": 7}]', ONE, None),
    "json-answer": ('{"answer": "From Frame 3 to Frame 7"}', ONE, F),
    "json-conf": ('{"start": 3, "end": 7, "confidence": 0.9}', ONE, None),
    "json-nested": ('{"result": {"start_frame": 3, "end_frame": 7}}', ONE, F),
    "tuple": ("(3, 7)", ONE, None),
    "tuple-s": ("(3s, 7s)", ONE, S),
    "list-float": ("[3.0, 7.0]", ONE, None),
    "list-semi": ("3; 7", ONE, None),
    "list-of-tuples": ("[(3, 7), (10, 12)]", ((3, 7), (10, 12)), None),
    "clock-frac": ("0:03.5 to 0:07.25", ((3.5, 7.25),), S),
    "clock-brackets": ("[0:03 - 0:07]", ONE, S),
    "clock-hms": ("1:00:03 - 1:00:07", ((3603, 3607),), S),
    "clock-words": ("from 3 minutes 5 seconds to 4 minutes", ((185, 240),), S),
    "clock-mixed": ("from 0:59 to 1:05", ((59, 65),), S),
    "min-float": ("1.5 minutes to 2 minutes", ((90, 120),), S),
    "hms-letters": ("1h2m3s to 1h2m10s", ((3723, 3730),), S),
    "prime": ("0'03\" to 0'07\"", ONE, S),
    "ms": ("3000 ms to 7000 ms", ONE, S),
    "clock-dot": ("00.03 - 00.07", ((0.03, 0.07),), None),
    "percent-dash": ("20%-50%", ((20, 50),), P),
    "percent-range": ("20-50%", ((20, 50),), P),
    "percent-of": ("from 20 % to 50 % of the video", ((20, 50),), P),
    "percent-fw": ("20％到50％", ((20, 50),), P),
    "percent-zh": ("从百分之20到百分之50", ((20, 50),), P),
    "percent-dec": ("12.5% to 37.5%", ((12.5, 37.5),), P),
    "single-percent": ("at 50%", ((50, 50),), P),
    "one-at": ("It happens at frame 12.", ((12, 12),), F),
    "one-bracket": ("[5]", ((5, 5),), None),
    "one-json": ('{"frame": 5}', ((5, 5),), F),
    "one-only": ("only in frame 5", ((5, 5),), F),
    "one-zh": ("第5帧", ((5, 5),), F),
    "one-number-dot": ("5.", ((5, 5),), None),
    "same": ("from frame 5 to frame 5", ((5, 5),), F),
    "reversed-clock": ("0:07 to 0:03", ONE, S),
    "reversed-json": ("[7, 3]", ONE, None),
    "outside-neg": ("From Frame -3 to Frame 7", ((-3, 7),), F),
    "several-lines": ("Frame 3 to Frame 7\nFrame 10 to Frame 12", ((3, 7), (10, 12)), F),
    "several-bullets": ("- frames 3-7\n- frames 10-12", ((3, 7), (10, 12)), F),
    "several-semi": ("3-7; 10-12", ((3, 7), (10, 12)), None),
    "several-and": ("0:03-0:07 and 0:10-0:12", ((3, 7), (10, 12)), S),
    "several-timechat": ("3.0 - 7.0 seconds, 10.0 - 12.0 seconds", ((3.0, 7.0), (10.0, 12.0)), S),
    "numbered-paren": ("1) 3-7\n2) 10-12", ((3, 7), (10, 12)), None),
    "open-until-end": ("From frame 3 until the end of the video", ((3, None),), F),
    "open-onward": ("from frame 3 onward", ((3, None),), F),
    "open-after": ("after frame 3", ((3, None),), F),
    "open-json-endword": ('{"start": 3, "end": "end"}', ((3, None),), None),
    "open-before": ("before 7 seconds", ((0, 7),), S),
    "open-zh": ("从第3帧开始直到最后", ((3, None),), F),
    "open-zh2": ("从第3帧到最后", ((3, None),), F),
    "open-start-zh": ("从开头到第7帧", ((0, 7),), F),
    "open-last": ("from frame 3 to the last frame", ((3, None),), F),
    "open-de": ("von Frame 3 bis zum Ende", ((3, None),), F),
    "open-fr": ("de la frame 3 à la fin", ((3, None),), F),
    "open-start": ("from the start to 7 seconds", ((0, 7),), S),
    "open-first7-in": ("It is seen in the first 7 seconds.", ((0, 7),), S),
    "second-mark": ("at the 12.5-second mark", ((12.5, 12.5),), S),
    "length-and-span": ("The 16-second video shows it from 3 s to 7 s.", ONE, S),
    "small-dash": ("3﹣7", ONE, None),
    "german-comma-once": ("von 3,5 bis 7,2 Sekunden", ((3.5, 7.2),), S),
    "vietnamese-seconds": ("Từ 3 giây đến 7 giây", ONE, S),
    "polish-seconds": ("od 3 do 7 sekundy", ONE, S),
    "indonesian-seconds": ("dari detik 3 sampai detik 7", ONE, S),
    "thought": ("<thought>frames 1-2</thought> From Frame 3 to Frame 7", ONE, F),
    "reasoning": ("<reasoning>1 to 2</reasoning>3 to 7", ONE, None),
    "open-first7": ("during the first 7 seconds", ((0, 7),), S),
    "entire": ("It is visible in the entire video.", ((0, None),), None),
    "entire-zh": ("整个视频", ((0, None),), None),
    "think-tags": ("<thinking>1 to 2</thinking>\n3 to 7", ONE, None),
    "think-answer": (
        "<think>frames 1 to 2? or 5 to 6</think><answer>From Frame 3 to Frame 7</answer>",
        ONE,
        F,
    ),
    "think-final": (
        "Let me think. Frame 1 to 2 shows a dog. Final answer: From Frame 3 to Frame 7",
        ONE,
        F,
    ),
    "think-kimi": ("◁think▷ 1 to 2 ◁/think▷ 3 to 7", ONE, None),
    "answer-bold": ("I looked at frames 0 to 15.\n**Answer:** From Frame 3 to Frame 7", ONE, F),
    "so-the-answer": ("Frames 0-2 show a dog. So the answer is from frame 3 to frame 7.", ONE, F),
    "echo-question": ("During which frames can we see a star? From Frame 3 to Frame 7.", ONE, F),
    "echo-query-numbers": ("Query: 2 dogs. From Frame 3 to Frame 7.", ONE, F),
    "echo-format": (
        "Answer in the format: 'From Frame x to Frame y'.\nFrom Frame 3 to Frame 7.",
        ONE,
        F,
    ),
    "echo-2024": ("Answer in the format of 'from x to y'. from 3 to 7", ONE, None),
    "echo-format2": ("in the format 'From Frame x to Frame y': From Frame 3 to Frame 7", ONE, F),
    "echo-red-numbers": (
        "The red numbers on each frame represent the frame number.During which frames can we see "
        "1 to 2 dogs? Answer in the format: 'From Frame x to Frame y'.\nFrom Frame 3 to Frame 7",
        ONE,
        F,
    ),
    "echo-none": (
        "The video is given as 16 frames, numbered from 0 to 15, and lasts 16.0 seconds. "
        "From Frame 3 to Frame 7.",
        ONE,
        F,
    ),
    "duration-stated": (
        "The video is 16.0 seconds long. The star appears from 3.0 to 7.0 seconds.",
        ONE,
        S,
    ),
    "given-query": ("The given query 'a dog' happens in 3.0 - 7.0 seconds.", ONE, S),
    "vtimellm": ("from 03 to 07.", ONE, None),
    "between-times": ("between 0:03 and 0:07", ONE, S),
    "approx": ("approximately from 3 to 7 seconds", ONE, S),
    "tilde-approx": ("~3s to ~7s", ONE, S),
    "about-frame": ("around frame 3 to around frame 7", ONE, F),
    "until-frame": ("from frame 3 up to frame 7", ONE, F),
    "to-and-incl": ("from frame 3 to and including frame 7", ONE, F),
    "frame-number": ("From frame number 3 to frame number 7", ONE, F),
    "upper": ("FROM FRAME 3 TO FRAME 7", ONE, F),
    "second-ordinal": ("from the 3rd second to the 7th second", ONE, S),
    "s-mark": ("3.0s to 7.0s", ONE, S),
    "t-eq": ("t=3 to t=7", ONE, S),
    "secs": ("3 secs - 7 secs", ONE, S),
    "begins-lasts": ("It begins at 3 seconds and lasts until 7 seconds.", ONE, S),
    "latex": ("$\\boxed{\\text{From Frame 3 to Frame 7}}$", ONE, F),
    "quote": ("'From Frame 3 to Frame 7'", ONE, F),
    "html": ("<b>3</b> to <b>7</b>", ONE, None),
    "first-frame": ("from the first frame to frame 7", ((0, 7),), F),
    "code": ("```\nFrom Frame 3 to Frame 7\n```", ONE, F),
    "twice-the-same": ("frames 5 and 5", ((5, 5),), F),
    "huge": ("3 to " + "9" * 400, ((3, float("9" * 300)),), None),
}
FAILED = {
    "empty": ("", answers.EMPTY),
    "blank": (" \n\t ", answers.EMPTY),
    "example": ("From Frame x to Frame y", answers.EXAMPLE),
    "example-2024": ("from x to y", answers.EXAMPLE),
    "absent": ("The red star is not present in the video.", answers.NOT_PRESENT),
    "absent-range": ("There is no red star in frames 0 to 15.", answers.NOT_PRESENT),
    "cannot": ("I cannot see a red star.", answers.NOT_PRESENT),
    "chinese-absent": ("视频中没有红色的星星", answers.NOT_PRESENT),
    "minus-one": ("[-1, -1]", answers.NOT_PRESENT),
    "json-null": ('{"start": null, "end": null}', answers.NOT_PRESENT),
    "not-not-visible": ("The star is not visible.", answers.NOT_PRESENT),
    "not-no-such": ("No such event.", answers.NOT_PRESENT),
    "not-none": ("None", answers.NOT_PRESENT),
    "not-na": ("N/A", answers.NOT_PRESENT),
    "not-nowhere": ("The star appears nowhere in the video.", answers.NOT_PRESENT),
    "not-does-not": (
        "The video does not show a star from frame 0 to frame 15.",
        answers.NOT_PRESENT,
    ),
    "not-doesnt": ("The video doesn’t contain a star.", answers.NOT_PRESENT),
    "not-no-star": ("There is no star in the video.", answers.NOT_PRESENT),
    "not-no-frames": ("No frames show a star.", answers.NOT_PRESENT),
    "not-zh": ("视频中没有出现星星", answers.NOT_PRESENT),
    "not-zh2": ("未找到相关片段", answers.NOT_PRESENT),
    "not-de": ("Der Stern ist nicht zu sehen.", answers.NOT_PRESENT),
    "not-fr": ("L'étoile n'est pas visible.", answers.NOT_PRESENT),
    "not-es": ("La estrella no aparece en el vídeo.", answers.NOT_PRESENT),
    "not-unable": ("I am unable to find it.", answers.NOT_PRESENT),
    "not-empty-list": ("[]", answers.NOT_PRESENT),
    "not-null": ("null", answers.NOT_PRESENT),
    "not-json-none": ('{"frames": []}', answers.NOT_PRESENT),
    "not-unanswerable": ("unanswerable", answers.NOT_PRESENT),
    "not-not-in-video": ("This is not in the video.", answers.NOT_PRESENT),
    "example-repeated": ("'From Frame x to Frame y'.", answers.EXAMPLE),
    "ex-upper-repeated": ("From Frame X to Frame Y", answers.EXAMPLE),
    "ex-question-repeated": (
        "During which frames can we see a star? Answer in the format: 'From Frame x to Frame y'.",
        answers.EXAMPLE,
    ),
    "ex-seconds-repeated": ("From x seconds to y seconds", answers.EXAMPLE),
    "ex-fill-repeated": ("From Frame [x] to Frame [y]", answers.EXAMPLE),
    "ex-xy-par-repeated": ("from x to y.", answers.EXAMPLE),
    "thinking": ("<think>from frame 3 to frame 7", answers.UNFINISHED),
    "thought": ("<thought>from frame 3 to frame 7", answers.UNFINISHED),
    "words": ("A red star spins.", answers.NO_SPAN),
    "a-count": ("I see 3 people.", answers.NO_SPAN),
    "a-length": ("The video is 10 seconds long.", answers.NO_SPAN),
    "a-name": ("video.mp4", answers.NO_SPAN),
}
PAPER = "The highlight frames are in the {} frames. Their saliency scores are {}"
EXAMPLE = HIGHLIGHTS.replace("{query}", "a star")
HIGHLIGHT = {
    "asked": (PAPER.format("3, 4, 5", "1.0, 2.5, 3.0"), (3, 4, 5), (1, 2.5, 3), F),
    "integers": (PAPER.format("3, 4", "1, 5"), (3, 4), (1, 5), F),
    "seconds": (
        "The highlight seconds are the 3.0, 4.5 seconds. Their saliency scores are 1.0, 2.5",
        (3, 4.5),
        (1, 2.5),
        S,
    ),
    "after-the-example": (f"{EXAMPLE} {PAPER.format('3, 4', '1.0, 2.5')}", (3, 4), (1, 2.5), F),
    "own-frames": (PAPER.format("40, 41", "1.3, 1.5"), (40, 41), (1.3, 1.5), F),
    "range": (PAPER.format("3-5", "1.0, 2.0, 3.0"), (3, 4, 5), (1, 2, 3), F),
    "one-score": ("frames 3 to 5, score 2.0", (3, 4, 5), (2, 2, 2), F),
    "and": (PAPER.format("3, 4, and 5", "1.0, 2.0, and 3.0"), (3, 4, 5), (1, 2, 3), F),
    "twice": (PAPER.format("3, 3, 4", "1.0, 2.0, 3.0"), (3, 4), (1, 3), F),
    "cut-off": (PAPER.format("3, 4, 5", "1.0, 2.5"), (3, 4), (1, 2.5), F),
    "out-of-five": (PAPER.format("3, 4", "4/5, 3.5/5"), (3, 4), (4, 3.5), F),
    "json": ('{"frames": [3, 4], "scores": [1, 2.5]}', (3, 4), (1, 2.5), F),
    "json-rows": ('[{"frame": 3, "score": 2.5}, {"frame": 4, "score": 3}]', (3, 4), (2.5, 3), F),
    "pairs": ("Frame 3: 2.5, Frame 4: 3.0", (3, 4), (2.5, 3), F),
    "pairs-in-brackets": ("Frame 3 (score 2.5), Frame 4 (score 3.0)", (3, 4), (2.5, 3), F),
    "json-keys": ('{"3": 2.5, "4": 3.0}', (3, 4), (2.5, 3), None),
    "seconds-lines": ("3s: 2.0\n4s: 3.0", (3, 4), (2, 3), S),
    "outside": (PAPER.format("200, 201", "9.0, 7.0"), (200, 201), (9, 7), F),
}
HIGHLIGHT_FAILED = {
    "empty": ("", answers.EMPTY),
    "example": (EXAMPLE, answers.EXAMPLE),
    "example-cut-off": (EXAMPLE[EXAMPLE.index("The highlight") : -16], answers.EXAMPLE),
    "no-scores": ("The highlight frames are in the 3, 4, 5", answers.NO_SCORES),
    "absent": ("There are no highlights.", answers.NOT_PRESENT),
    "thinking": ("<think>" + PAPER.format("3", "1.0"), answers.UNFINISHED),
}


@pytest.mark.parametrize("case", SAID)
def test_moment(case):
    text, spans, unit = SAID[case]
    answer = parse_moment(text)
    assert (answer.spans, answer.unit, answer.reason) == (spans, unit, None)
    assert answer.text == text


@pytest.mark.parametrize("case", FAILED)
def test_moment_failures_say_why(case):
    text, reason = FAILED[case]
    answer = parse_moment(text)
    assert (answer.spans, answer.unit, answer.reason) == ((), None, reason)


@pytest.mark.parametrize("case", HIGHLIGHT)
def test_highlights(case):
    text, labels, scores, unit = HIGHLIGHT[case]
    answer = parse_highlights(text)
    assert (answer.labels, answer.scores, answer.unit) == (labels, scores, unit)
    assert answer.reason is None


@pytest.mark.parametrize("case", HIGHLIGHT_FAILED)
def test_highlight_failures_say_why(case):
    text, reason = HIGHLIGHT_FAILED[case]
    answer = parse_highlights(text)
    assert (answer.labels, answer.scores, answer.reason) == ((), (), reason)


def test_a_240_frame_list_is_read_whole():
    frames, scores = range(240), [1 + i % 40 / 10 for i in range(240)]
    text = PAPER.format(", ".join(map(str, frames)), ", ".join(map(str, scores)))
    answer = parse_highlights(text)
    assert answer.labels == tuple(frames) and answer.scores == tuple(scores)
    listed = ", ".join(map(str, frames))
    assert parse_moment(f"The frames {listed}").spans == ((0, 239),)


WORDS = """0 1 7 12 3.5 0:07 1:02:03 99999999999999999999 ٣ ² ½ -1 frame Frame frames seconds s
% min h to from until and , . : ; - – ~ … [ ] ( ) { } " ' \\ 第 帧 到 から x y score scores
answer: <think> </think> <answer> end start not present null during which ? the"""
PIECES = st.sampled_from([*WORDS.split(), "\n"])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=60).map(" ".join),
    st.lists(PIECES, max_size=60).map("".join),
)


LIMIT = 10  # milliseconds of CPU; measured: at most 5


def milliseconds(work, *arguments):
    """CPU time of this thread: what else the machine does is hardly in it."""
    began = time.thread_time()
    work(*arguments)
    return 1e3 * (time.thread_time() - began)


def plain_work():
    """What took 0.2 ms where that was measured, so that slower machines have more room."""
    sum(i * i for i in range(6000))


def takes_long(parse, text):
    """Tell whether a text takes more than `LIMIT` in each of twenty runs."""
    return all(
        milliseconds(parse, text) > max(LIMIT, LIMIT / 0.2 * milliseconds(plain_work))
        for _ in range(20)
    )


READERS = {"moment": parse_moment, "highlights": parse_highlights}


@settings(max_examples=400)
@given(TEXTS, st.sampled_from([1, 1, 1, 50, 2000]))
def test_no_text_raises_or_takes_long_and_answers_keep_their_form(text, times):
    text = (text * times)[:100_000]
    moment, highlights = parse_moment(text), parse_highlights(text)
    assert (moment.reason is None) == bool(moment.spans)
    assert (highlights.reason is None) == bool(highlights.labels)
    assert moment.unit in (None, F, S, P) and highlights.unit in (None, F, S)
    assert len(highlights.labels) == len(set(highlights.labels)) == len(highlights.scores)
    for a, b in moment.spans:
        assert math.isfinite(a) and (b is None or a <= b < math.inf)
    assert all(map(math.isfinite, (*highlights.labels, *highlights.scores)))
    for parse in READERS.values():
        assert not takes_long(parse, text)


@settings(max_examples=100)
@given(st.tuples(*[st.integers(0, 10_000)] * 2).map(sorted), st.sampled_from([2, 5]))
def test_what_is_asked_for_is_always_read(span, words):
    a, b = span
    text = ("From Frame {} to Frame {}", "from {} to {}.")[words == 2].format(a, b)
    assert parse_moment(text).spans == ((a, b),)


LONG = {
    "digits": "1",
    "numbers": "1 ",
    "commas": "1, ",
    "dashes": "1-",
    "frames": "frame ",
    "frame-numbers": "frame 1, ",
    "clocks": "0:00 to ",
    "minutes": "1 min ",
    "scores": "score 1,1 ",
    "brackets": "(",
    "spaces": " ",
    "thinking": "<think>",
    "echoes": "during which ",
    "starts": "from the start ",
    "denials": "1 not any ",
    "chinese": "第帧",
    "accents": "\u0301\u0323",
    "ends": "end 1 start 2 ",
    "thoughts": "</think>",
    "from": "from ",
    "from-wide": "from\u3000\u3000",
    "from-numbers": "from1 ",
    "spans": "from 1 to ",
    "answers": "answer: ",
    "tags": "</b",
    "wide-ranges": "-1000:0",
    "ranges": "frames 0-900, ",
    "ranges-scored": "frames 0-900 score 1, ",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", LONG)
def test_long_texts_take_milliseconds(case, reader):
    assert not takes_long(READERS[reader], (LONG[case] * 100_000)[:100_000])


def test_an_answer_after_a_long_text_is_found():
    assert parse_moment("Let us look closely. " * 10_000 + "From Frame 3 to 7").spans == ONE
    thought = "<think>" + "maybe from frame 1 to frame 2. " * 1000 + "</think>"
    assert parse_moment(thought + "From Frame 3 to 7. " + "It is a star. " * 250).spans == ONE


def test_the_two_ends_of_a_long_text_are_not_joined():
    assert parse_moment("x" * 1997 + " 12" + "y" * 9000 + "34 " + "z" * 1997).spans == ()
